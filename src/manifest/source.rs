//! The values of `-f` into texts.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::field::{FieldError, FieldErrors};

/// What a file of a directory must end in to be read.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// One file, or stdin.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Text {
    /// The file as the caller named it, or `stdin`.
    pub(crate) file: String,
    pub(crate) text: String,
}

/// The texts of files, of the manifests directly in directories, and of `stdin` where a source is `-`.
///
/// What cannot be read is a mistake beside the others.
pub(crate) fn read(sources: &[PathBuf], stdin: &mut impl Read, mistakes: &mut FieldErrors) -> Vec<Text> {
    let mut texts = Vec::new();
    let mut is_stdin_read = false;
    for source in sources {
        if source == Path::new("-") {
            if is_stdin_read {
                mistakes.push(mistake("stdin", "is given twice: - can be read only once"));
            } else {
                is_stdin_read = true;
                let mut bytes = Vec::new();
                let outcome = stdin.read_to_end(&mut bytes).map(|_| bytes);
                texts.extend(text("stdin".to_owned(), outcome, mistakes));
            }
        } else if source.is_dir() {
            for file in manifests(source, mistakes) {
                texts.extend(text(file.display().to_string(), fs::read(&file), mistakes));
            }
        } else {
            texts.extend(text(source.display().to_string(), fs::read(source), mistakes));
        }
    }
    texts
}

/// The manifests directly in a directory, by name.
fn manifests(directory: &Path, mistakes: &mut FieldErrors) -> BTreeSet<PathBuf> {
    let name = directory.display().to_string();
    let is_manifest = |path: &PathBuf| {
        let extension = path.extension().and_then(|extension| extension.to_str());
        extension.is_some_and(|extension| EXTENSIONS.contains(&extension)) && path.is_file()
    };
    let entries = fs::read_dir(directory).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()
    });
    match entries {
        Ok(paths) => {
            let found: BTreeSet<PathBuf> = paths.into_iter().filter(is_manifest).collect();
            if found.is_empty() {
                mistakes.push(mistake(&name, "holds no .yaml, .yml or .json file"));
            }
            found
        }
        Err(error) => {
            mistakes.push(mistake(&name, format!("cannot be read: {error}")));
            BTreeSet::new()
        }
    }
}

fn text(file: String, outcome: io::Result<Vec<u8>>, mistakes: &mut FieldErrors) -> Option<Text> {
    let what = match outcome.map(String::from_utf8) {
        Ok(Ok(text)) => return Some(Text { file, text }),
        Ok(Err(_)) => "is not UTF-8 text".to_owned(),
        Err(error) => format!("cannot be read: {error}"),
    };
    mistakes.push(mistake(&file, what));
    None
}

/// A mistake that is about a file as a whole.
pub(crate) fn mistake(file: &str, what: impl Into<String>) -> FieldError {
    FieldError { file: file.to_owned(), document: None, path: String::new(), line: None, what: what.into() }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::super::field::FieldErrors;
    use super::{Text, read};

    /// Reads sources below a directory with a few files in it; the directory's own name is left out.
    fn check(sources: &[&str], expected: &[(&str, &str)], expected_mistakes: &str) {
        let directory = tempfile::tempdir().expect("a directory");
        let at = |name: &str| directory.path().join(name);
        fs::create_dir_all(at("some/deeper.yaml")).expect("directories");
        fs::create_dir(at("none")).expect("a directory");
        for (name, content) in [
            ("one.yaml", "1"),
            ("some/b.yml", "b"),
            ("some/a.json", "a"),
            ("some/note.txt", "x"),
            ("none/x.txt", "x"),
        ] {
            fs::write(at(name), content).expect("a file");
        }
        fs::write(at("latin.yaml"), b"\xe4").expect("a file");
        let sources: Vec<PathBuf> =
            sources.iter().map(|name| if *name == "-" { "-".into() } else { at(name) }).collect();
        let mut mistakes = FieldErrors::default();
        let texts = read(&sources, &mut "piped".as_bytes(), &mut mistakes);
        let prefix = format!("{}/", directory.path().display());
        let texts: Vec<Text> = texts
            .into_iter()
            .map(|text| Text { file: text.file.replace(&prefix, ""), text: text.text })
            .collect();
        let expected: Vec<Text> =
            expected.iter().map(|(file, text)| Text { file: (*file).into(), text: (*text).into() }).collect();
        assert_eq!(texts, expected);
        assert_eq!(mistakes.to_string().replace(&prefix, ""), expected_mistakes);
    }

    #[test]
    fn files_directories_and_stdin_are_read_in_the_order_given() {
        check(
            &["one.yaml", "-", "some"],
            &[("one.yaml", "1"), ("stdin", "piped"), ("some/a.json", "a"), ("some/b.yml", "b")],
            "",
        );
    }

    #[test]
    fn what_cannot_be_read_keeps_nothing_else_from_being_read() {
        check(
            &["absent.yaml", "none", "latin.yaml", "one.yaml"],
            &[("one.yaml", "1")],
            "absent.yaml: cannot be read: No such file or directory (os error 2)\n\
             none: holds no .yaml, .yml or .json file\n\
             latin.yaml: is not UTF-8 text",
        );
    }

    #[test]
    fn stdin_is_read_once() {
        check(&["-", "-"], &[("stdin", "piped")], "stdin: is given twice: - can be read only once");
    }
}
