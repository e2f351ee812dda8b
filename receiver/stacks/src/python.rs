//! Python: what an interpreter was running, and where it keeps that.

use crate::trace::Frame;

/// The module of a frame of Python: see [`Frame::module`](crate::trace::Frame::module).
pub const MODULE: &str = "[python]";

/// Prefixes of the names of the interpreter's own functions, where it is part of a program that is more than it.
const INTERPRETER: &[&str] = &["Py", "_Py", "pymalloc_", "address_in_range", "slot_"];

/// Where packages are installed.
const INSTALLED: [&str; 2] = ["/site-packages/", "/dist-packages/"];

/// A frame of a CPython interpreter, as addresses in the process.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PythonFrame {
    /// Of its code object.
    pub code: u64,
    /// Where in the code it was: an address within the code object (3.11 and later), or an index as the version counts them.
    pub instruction: u64,
    /// The interpreter was entered from C for it: below it on the stack stands another C function.
    pub is_entry: bool,
}

/// How a version of CPython notes the lines of instructions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LineTable {
    /// `co_lnotab`; instructions are told in bytes (3.8, 3.9).
    Lnotab,
    /// `co_linetable`; instructions are told in units of two bytes (3.10).
    Linetable,
    /// `co_linetable` with positions (3.11 and later); instructions are told by their address.
    Positions,
}

/// Where a version of CPython keeps what is read of a code object: offsets, bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CodeLayout {
    /// How lines are noted.
    pub table: LineTable,
    /// In any object: its type.
    pub object_type: u32,
    /// In a type: its name, a C string.
    pub type_name: u32,
    /// In a code object: its file.
    pub file: u32,
    /// In a code object: its name; the qualified one where the version keeps that.
    pub name: u32,
    /// In a code object: its first line, 4 bytes.
    pub first_line: u32,
    /// In a code object: the table of lines.
    pub lines: u32,
    /// In a code object: its first instruction; 0 where instructions are told by index.
    pub instructions: u32,
    /// In a text: how many characters.
    pub text_length: u32,
    /// In a text: how they are kept.
    pub text_state: u32,
    /// In a text: the characters, where all of them are ASCII.
    pub text_ascii: u32,
    /// In a text: the characters, where not.
    pub text_other: u32,
    /// In a byte string: how many.
    pub bytes_size: u32,
    /// In a byte string: the bytes.
    pub bytes: u32,
}

/// On a stack with Python on it: the frame is there on behalf of Python code, or of Python's own library.
pub(crate) fn serves(frame: &Frame) -> bool {
    if frame.module == MODULE {
        return frame.file.as_deref().is_some_and(is_library_source);
    }
    let name = frame.module.rsplit('/').next().unwrap_or(&frame.module);
    name.starts_with("python")
        || name.starts_with("libpython")
        || frame.module.contains("/lib-dynload/")
        || frame
            .function
            .as_deref()
            .is_some_and(|function| INTERPRETER.iter().any(|it| function.starts_with(it)))
}

/// The frame is of what has been installed beside the program: a package, or what one brings along in C.
pub(crate) fn is_installed(frame: &Frame) -> bool {
    let file = if frame.module == MODULE { frame.file.as_deref() } else { Some(frame.module.as_str()) };
    file.is_some_and(|file| INSTALLED.iter().any(|folder| file.contains(folder)))
}

/// A file of the standard library: `/usr/lib/python3.11/json/decoder.py`, and what is frozen into the interpreter.
fn is_library_source(file: &str) -> bool {
    let installed = INSTALLED.iter().any(|folder| file.contains(folder));
    let library = file.split_once("/lib/python3.").is_some_and(|(_, rest)| rest.contains('/'));
    file.starts_with("<frozen ") || (library && !installed)
}

#[cfg(all(test, target_os = "linux"))]
pub(crate) mod testing {
    use std::path::PathBuf;

    /// The interpreter of Python 3.`minor`: by its name, or below `~/.pyenv/versions`.
    pub(crate) fn interpreter(minor: u32) -> Option<PathBuf> {
        let name = format!("python3.{minor}");
        let path = std::env::var_os("PATH").unwrap_or_default();
        let named = std::env::split_paths(&path)
            // those of pyenv in the path run whichever version is chosen
            .filter(|folder| !folder.ends_with("shims"))
            .map(|folder| folder.join(&name))
            .find(|path| path.exists());
        let versions = std::env::home_dir().map(|home| home.join(".pyenv/versions"));
        let installed = || {
            let folders = std::fs::read_dir(versions?).ok()?;
            folders.flatten().map(|folder| folder.path().join("bin").join(&name)).find(|path| path.exists())
        };
        named.or_else(installed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn python(file: &str) -> Frame {
        Frame { module: MODULE.to_owned(), file: Some(file.to_owned()), ..Frame::default() }
    }

    fn native(module: &str, function: &str) -> Frame {
        Frame { module: module.to_owned(), function: Some(function.to_owned()), ..Frame::default() }
    }

    /// Guarantees: packages and what they bring along in C are installed; programs are not, nor what the system has.
    #[test]
    fn what_is_installed() {
        assert!(is_installed(&python("/srv/venv/lib/python3.11/site-packages/pydantic/main.py")));
        assert!(is_installed(&native("/usr/lib/python3/dist-packages/numpy/core/_multiarray.so", "f")));
        assert!(
            !is_installed(&python("/srv/app/main.py")) && !is_installed(&native("/usr/lib/libz.so.1", "f"))
        );
    }

    /// Guarantees: the interpreter, its own extensions and its standard library serve; packages, programs and the libraries of others
    /// do not.
    #[test]
    fn who_serves() {
        for frame in [
            python("/usr/lib/python3.11/json/decoder.py"),
            python("/opt/python/lib/python3.13/threading.py"),
            python("<frozen importlib._bootstrap>"),
            native("/usr/bin/python3.11", "list_resize"),
            native("/usr/lib/libpython3.9.so.1.0", "bytearray_iconcat"),
            native("/usr/lib/python3.11/lib-dynload/_json.cpython-311-x86_64-linux-gnu.so", "scan_once"),
            native("/usr/sbin/uwsgi", "_PyObject_Malloc"),
        ] {
            assert!(serves(&frame), "{frame:?}");
        }
        for frame in [
            python("/srv/app/main.py"),
            python("/home/python3.9/app.py"),
            python("/usr/lib/python3/dist-packages/requests/api.py"),
            python("/usr/lib/python3.11/site-packages/numpy/core/numeric.py"),
            python("<string>"),
            native("/usr/lib/python3.11/site-packages/numpy/core/_multiarray.so", "npy_alloc_cache"),
            native("/usr/lib/libsqlite3.so.0", "sqlite3_step"),
            native("/usr/sbin/uwsgi", "uwsgi_malloc"),
        ] {
            assert!(!serves(&frame), "{frame:?}");
        }
    }
}
