use super::*;

const PYTHON: &str = "/usr/lib/libpython3.9.so.1.0";

/// `function@module`, `~` before it for one that was inlined; by default of the interpreter.
fn native(text: &str) -> Frame {
    let inlined = text.starts_with('~');
    let (function, module) = text.trim_start_matches('~').split_once('@').unwrap_or((text, PYTHON));
    let function = function.trim_start_matches('~').to_owned();
    Frame { function: Some(function), module: module.to_owned(), inlined, ..Frame::default() }
}

fn frames(texts: &str) -> Vec<Frame> {
    texts.split_whitespace().map(native).collect()
}

/// Functions of Python, innermost first; `|` behind one for which the interpreter was entered.
fn lines(text: &str) -> Vec<Line> {
    let line = |text: &str| Line {
        function: text.trim_end_matches('|').into(),
        file: Some("/app.py".into()),
        line: Some(7),
        offset: 2,
        is_entry: text.ends_with('|'),
    };
    text.split_whitespace().map(line).collect()
}

fn merged(native: &str, python: &str, incomplete: Option<&str>, most: usize) -> (String, Option<String>) {
    let (frames, incomplete) = merge(frames(native), &lines(python), incomplete.map(str::to_owned), most);
    let name = |frame: &Frame| {
        let name = frame.function.clone().unwrap();
        if frame.module == MODULE { name.to_uppercase() } else { name }
    };
    (frames.iter().map(name).collect::<Vec<_>>().join(" "), incomplete)
}

/// Guarantees: each of the interpreter's functions gives way to what it ran, as many as there were up to where it was entered; what
/// was inlined into it and what calls it goes as well, other functions stay between.
#[test]
fn in_the_place_of_what_ran_it() {
    let (text, incomplete) = merged(
        "malloc@/libc.so.6 list_resize ~Py_DECREF _PyEval_EvalFrameDefault _PyEval_EvalFrame _PyFunction_Vectorcall.localalias \
         functools_reduce PyObject_Call sort@/numpy.so _PyEval_EvalFrameDefault.cold _PyEval_Vector PyEval_EvalCode main",
        "leaf inner| outer module|",
        None,
        64,
    );
    assert_eq!(text, "malloc list_resize LEAF INNER functools_reduce sort OUTER MODULE PyEval_EvalCode main");
    assert_eq!(incomplete, None);
}

/// Guarantees: functions of Python for which none of the interpreter's is left on the stack are not lost: they stand at the end of
/// a stack that was cut, and behind the last of its functions in a whole one.
#[test]
fn nothing_is_lost() {
    let cut = merged("malloc@/libc.so.6 _PyEval_EvalFrameDefault f@/x.so", "a| b| c|", Some("cut"), 64);
    assert_eq!(cut, ("malloc A f B C".to_owned(), Some("cut".to_owned())));
    let whole = merged("malloc@/libc.so.6 _PyEval_EvalFrameDefault main", "a| b|", None, 64);
    assert_eq!(whole, ("malloc A B main".to_owned(), None));
    let none = merged("malloc@/libc.so.6 x@/app", "a| b|", None, 64);
    assert_eq!(none, ("malloc x A B".to_owned(), None));
}

/// Guarantees: where the kernel has told only the innermost functions of Python the trace says so; and it has no more frames than were
/// asked for, and says that, too.
#[test]
fn what_is_missing_is_said() {
    let told = Some("Python was running more than 2 functions there".to_owned());
    let text =
        "malloc@/libc.so.6 _PyEval_EvalFrameDefault _PyEval_EvalFrameDefault _PyEval_EvalFrameDefault main";
    let (merged_text, incomplete) = merged(text, "a| b|", None, 64);
    assert_eq!((merged_text.as_str(), &incomplete), ("malloc A B _PyEval_EvalFrameDefault main", &told));
    assert_eq!(merged("_PyEval_EvalFrameDefault main", "a b", None, 64), ("A B main".to_owned(), told));
    let few = merged("~x _PyEval_EvalFrameDefault ~y z main", "a b|", None, 3);
    assert_eq!(few, ("A B y z".to_owned(), Some("it has more than 3 frames".to_owned())));
}

/// Guarantees: a file of a package or of the standard library has one name wherever that is installed, others their own.
#[test]
fn names_wherever_installed() {
    for (file, name) in [
        ("/usr/lib/python3.11/json/decoder.py", "json/decoder.py"),
        ("/usr/lib64/python3.9/json/decoder.py", "json/decoder.py"),
        ("/opt/python/3.13t/lib/python3.13t/json/decoder.py", "json/decoder.py"),
        ("/venv/lib/python3.11/site-packages/numpy/core/numeric.py", "numpy/core/numeric.py"),
        ("/usr/lib/python3/dist-packages/requests/api.py", "requests/api.py"),
        ("/srv/releases/7/app/main.py", "main.py"),
        ("/srv/lib/python3./main.py", "main.py"),
        ("<frozen importlib._bootstrap>", "<frozen importlib._bootstrap>"),
        ("", ""),
    ] {
        assert_eq!(installed_name(file), name);
    }
}
