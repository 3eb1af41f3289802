//! Reads the texts that the values of `-f` name.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::field::{FieldError, FieldErrors};

/// The extensions of files that are read from a directory.
const EXTENSIONS: [&str; 3] = ["yaml", "yml", "json"];

/// One file, or stdin.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Text {
    /// The file as the caller named it, or `stdin`.
    pub(crate) file: String,
    pub(crate) text: String,
}

/// Reads files, the manifests directly in directories, and `stdin` for a source `-`.
///
/// An unreadable source is one more error and does not stop the others.
pub(crate) fn read(sources: &[PathBuf], stdin: &mut impl Read, errors: &mut FieldErrors) -> Vec<Text> {
    let mut texts = Vec::new();
    let mut is_stdin_read = false;
    for source in sources {
        if source == Path::new("-") {
            if is_stdin_read {
                errors.push(file_error("stdin", "is given twice: - can be read only once"));
            } else {
                is_stdin_read = true;
                let mut bytes = Vec::new();
                let outcome = stdin.read_to_end(&mut bytes).map(|_| bytes);
                texts.extend(text("stdin".to_owned(), outcome, errors));
            }
        } else if source.is_dir() {
            for file in manifests(source, errors) {
                texts.extend(text(file.display().to_string(), fs::read(&file), errors));
            }
        } else {
            texts.extend(text(source.display().to_string(), fs::read(source), errors));
        }
    }
    texts
}

/// Returns the manifests directly in a directory, by name.
fn manifests(directory: &Path, errors: &mut FieldErrors) -> BTreeSet<PathBuf> {
    let name = directory.display().to_string();
    let entries = fs::read_dir(directory).and_then(|entries| {
        entries.map(|entry| entry.map(|entry| entry.path())).collect::<Result<Vec<_>, _>>()
    });
    match entries {
        Ok(paths) => {
            let found: BTreeSet<PathBuf> = paths.into_iter().filter(|path| is_manifest(path)).collect();
            if found.is_empty() {
                errors.push(file_error(&name, "holds no .yaml, .yml or .json file"));
            }
            found
        }
        Err(error) => {
            errors.push(file_error(&name, format!("cannot be read: {error}")));
            BTreeSet::new()
        }
    }
}

fn is_manifest(path: &Path) -> bool {
    let extension = path.extension().and_then(|extension| extension.to_str());
    extension.is_some_and(|extension| EXTENSIONS.contains(&extension)) && path.is_file()
}

fn text(file: String, outcome: io::Result<Vec<u8>>, errors: &mut FieldErrors) -> Option<Text> {
    let detail = match outcome.map(String::from_utf8) {
        Ok(Ok(text)) => return Some(Text { file, text }),
        Ok(Err(_)) => "is not UTF-8 text".to_owned(),
        Err(error) => format!("cannot be read: {error}"),
    };
    errors.push(file_error(&file, detail));
    None
}

/// Returns an error of a file as a whole.
pub(crate) fn file_error(file: &str, detail: impl Into<String>) -> FieldError {
    FieldError {
        file: file.to_owned(),
        document: None,
        path: String::new(),
        line: None,
        detail: detail.into(),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::PathBuf;

    use super::super::field::FieldErrors;
    use super::{Text, read};

    /// Reads sources below a directory with a few files in it; the name of the directory is stripped.
    fn check(sources: &[&str], expected: &[(&str, &str)], expected_errors: &str) {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path();
        fs::create_dir_all(root.join("some/deeper.yaml")).expect("directories");
        fs::create_dir(root.join("none")).expect("a directory");
        for (name, content) in [
            ("one.yaml", "1"),
            ("some/b.yml", "b"),
            ("some/a.json", "a"),
            ("some/note.txt", "x"),
            ("none/x.txt", "x"),
        ] {
            fs::write(root.join(name), content).expect("a file");
        }
        fs::write(root.join("latin.yaml"), b"\xe4").expect("a file");
        let sources: Vec<PathBuf> =
            sources.iter().map(|name| if *name == "-" { "-".into() } else { root.join(name) }).collect();
        let mut errors = FieldErrors::default();
        let texts = read(&sources, &mut "piped".as_bytes(), &mut errors);
        let prefix = format!("{}/", directory.path().display());
        let texts: Vec<Text> = texts
            .into_iter()
            .map(|text| Text { file: text.file.replace(&prefix, ""), text: text.text })
            .collect();
        let expected: Vec<Text> =
            expected.iter().map(|(file, text)| Text { file: (*file).into(), text: (*text).into() }).collect();
        assert_eq!(texts, expected);
        assert_eq!(errors.to_string().replace(&prefix, ""), expected_errors);
    }

    #[test]
    fn sources_are_read_in_the_order_given() {
        check(
            &["one.yaml", "-", "some"],
            &[("one.yaml", "1"), ("stdin", "piped"), ("some/a.json", "a"), ("some/b.yml", "b")],
            "",
        );
    }

    #[test]
    fn unreadable_source_does_not_stop_the_others() {
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
