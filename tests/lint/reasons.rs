//! Reasons are enums from the place of an error to the edge, where they become text.

use syn::spanned::Spanned as _;
use syn::visit::{self, Visit};

use crate::Measure;
use crate::source::File;

/// Fields and functions called `reason` of type `&'static str`, comparisons of a reason with a literal, and parses.
///
/// Text that came from the API server or leaves for it is a `String` and is not counted.
#[derive(Default)]
struct Texts {
    found: Vec<(usize, &'static str)>,
    in_test: usize,
}

impl<'ast> Visit<'ast> for Texts {
    fn visit_item_mod(&mut self, item: &'ast syn::ItemMod) {
        let is_test = item.attrs.iter().any(|it| it.path().is_ident("cfg"));
        self.in_test += usize::from(is_test);
        visit::visit_item_mod(self, item);
        self.in_test -= usize::from(is_test);
    }

    fn visit_field(&mut self, field: &'ast syn::Field) {
        if field.ident.as_ref().is_some_and(|name| name == "reason") && is_text(&field.ty) {
            self.find(field.span().start().line, "a field of static text");
        }
    }

    fn visit_signature(&mut self, signature: &'ast syn::Signature) {
        if let syn::ReturnType::Type(_, returned) = &signature.output
            && signature.ident == "reason"
            && is_text(returned)
        {
            self.find(signature.span().start().line, "a function that returns static text");
        }
    }

    fn visit_expr_binary(&mut self, expression: &'ast syn::ExprBinary) {
        let sides = [&expression.left, &expression.right];
        let is_comparison = matches!(expression.op, syn::BinOp::Eq(_) | syn::BinOp::Ne(_));
        if is_comparison && sides.iter().any(|it| is_reason(it)) && sides.iter().any(|it| has_literal(it)) {
            self.find(expression.span().start().line, "a comparison with a literal");
        }
        visit::visit_expr_binary(self, expression);
    }

    fn visit_expr_method_call(&mut self, call: &'ast syn::ExprMethodCall) {
        if call.method == "parse" && is_reason(&call.receiver) {
            self.find(call.span().start().line, "a parse of text");
        }
        visit::visit_expr_method_call(self, call);
    }
}

impl Texts {
    fn find(&mut self, line: usize, kind: &'static str) {
        if self.in_test == 0 {
            self.found.push((line, kind));
        }
    }
}

/// True for `&'static str`, also within a generic type.
fn is_text(kind: &syn::Type) -> bool {
    match kind {
        syn::Type::Reference(reference) => {
            matches!(&*reference.elem, syn::Type::Path(path) if path.path.is_ident("str"))
        }
        syn::Type::Path(path) => path.path.segments.iter().any(|segment| match &segment.arguments {
            syn::PathArguments::AngleBracketed(arguments) => arguments
                .args
                .iter()
                .any(|argument| matches!(argument, syn::GenericArgument::Type(inner) if is_text(inner))),
            syn::PathArguments::None | syn::PathArguments::Parenthesized(_) => false,
        }),
        _ => false,
    }
}

fn is_reason(expression: &syn::Expr) -> bool {
    match expression {
        syn::Expr::Path(path) => path.path.is_ident("reason"),
        syn::Expr::Field(field) => matches!(&field.member, syn::Member::Named(name) if name == "reason"),
        syn::Expr::MethodCall(call) => call.method == "reason" || is_reason(&call.receiver),
        syn::Expr::Reference(reference) => is_reason(&reference.expr),
        syn::Expr::Unary(unary) => is_reason(&unary.expr),
        _ => false,
    }
}

fn has_literal(expression: &syn::Expr) -> bool {
    match expression {
        syn::Expr::Lit(literal) => matches!(literal.lit, syn::Lit::Str(_)),
        syn::Expr::Call(call) => call.args.iter().any(has_literal),
        _ => false,
    }
}

/// Reasons that are text inside the program.
pub(crate) fn reasons_as_text(files: &[File]) -> Measure {
    let mut places = Vec::new();
    for file in files.iter().filter(|file| !file.is_unit_test()) {
        let mut texts = Texts::default();
        texts.visit_file(&file.syntax);
        places.extend(texts.found.into_iter().map(|(line, kind)| format!("{}:{line}: {kind}", file.path)));
    }
    Measure::places("reasons as text", 0.0, places)
}
