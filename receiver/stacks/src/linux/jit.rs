//! Names that runtimes give to the code that they make: each marks by how far it has optimised a function, and has its own
//! way to tell where it stands.

use super::dwarf::Named;

/// What V8 puts before names: kinds of code.
const KINDS: [&str; 6] = ["LazyCompile:", "Function:", "JS:", "Eval:", "Script:", "Callback:"];
/// How far it has been optimised, by versions.
const TIERS: [char; 4] = ['*', '~', '^', '+'];
/// The same of .NET, behind the name.
const DOTNET: [&str; 9] = [
    "[OptimizedTier1OSR]",
    "[OptimizedTier1]",
    "[Optimized]",
    "[QuickJitted]",
    "[PreJIT]",
    "[MinOptJitted]",
    "[Unknown]",
    "[Instrumented]",
    "[Tier0]",
];

/// Reads the name as a runtime has written it.
pub(crate) fn read(name: &str) -> Named {
    if let Some(script) = KINDS.iter().find_map(|kind| name.strip_prefix(kind)) {
        return javascript(script.strip_prefix(TIERS).unwrap_or(script));
    }
    let name = name.strip_prefix("[unknown]").unwrap_or(name).trim();
    let bare = DOTNET.iter().find_map(|tier| name.strip_suffix(tier)).unwrap_or(name);
    let function = java(bare).unwrap_or_else(|| without_type(bare).trim_end().to_owned());
    Named { function: Some(function).filter(|name| !name.is_empty()), ..Named::default() }
}

/// `name file:line:column`; functions without a name have the place alone.
fn javascript(text: &str) -> Named {
    let (name, place) = text.split_once(' ').unwrap_or((text, ""));
    let number = |text: &str| text.parse::<u32>().ok();
    let (mut file, mut line) = (place, None);
    // Line and column, or the line alone.
    for _ in 0..2 {
        let Some((rest, last)) = file.rsplit_once(':') else { break };
        let Some(last) = number(last) else { break };
        (file, line) = (rest, Some(last));
    }
    let name = if name.is_empty() { "(anonymous)" } else { name };
    Named {
        function: Some(name.to_owned()),
        file: Some(file.to_owned()).filter(|file| !file.is_empty()),
        line: line.filter(|line| *line != 0),
    }
}

/// `Lorg/some/Class;::method`, as perf-map-agent writes it.
fn java(name: &str) -> Option<String> {
    let (class, method) = name.strip_prefix('L')?.split_once(';')?;
    let method = method.strip_prefix("::").or_else(|| method.strip_prefix('.'))?;
    Some(format!("{}.{method}", class.replace('/', ".")))
}

/// `void org.some.Class.method(int)`, as the JVM writes it, without the type in front: no other function of its name has another.
fn without_type(name: &str) -> &str {
    let Some((before, _)) = name.split_once('(') else { return name };
    match before.split_once(' ') {
        Some((kind, method)) if method.contains('.') && !method.contains([' ', ':', '[']) => {
            name.get(kind.len() + 1..).unwrap_or(name)
        }
        _ => name,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: a function has one name however far it has been optimised; file and line are told apart from it; what is
    /// not understood stays as it is.
    #[test]
    fn one_name_for_a_function() {
        let named = |function: &str, file: &str, line: u32| Named {
            function: Some(function.to_owned()),
            file: Some(file.to_owned()).filter(|file| !file.is_empty()),
            line: Some(line).filter(|line| *line != 0),
        };
        let cases = [
            ("LazyCompile:*serve /srv/app.js:12", named("serve", "/srv/app.js", 12)),
            ("LazyCompile:~serve /srv/app.js:12:7", named("serve", "/srv/app.js", 12)),
            ("JS:^serve /srv/app.js:12:7", named("serve", "/srv/app.js", 12)),
            ("JS:*get file:///srv/a b.mjs:3:1", named("get", "file:///srv/a b.mjs", 3)),
            ("Function: node:internal/main:1:1", named("(anonymous)", "node:internal/main", 1)),
            ("JS:~", named("(anonymous)", "", 0)),
            ("Builtin:ArrayPush", named("Builtin:ArrayPush", "", 0)),
            ("Lorg/example/Cache;::put", named("org.example.Cache.put", "", 0)),
            (
                "org.example.Cache.put(java.lang.String)",
                named("org.example.Cache.put(java.lang.String)", "", 0),
            ),
            ("byte[] Cache$1.put(java.lang.String, int)", named("Cache$1.put(java.lang.String, int)", "", 0)),
            ("Stub Code I2C adapters(0x1.2)", named("Stub Code I2C adapters(0x1.2)", "", 0)),
            ("void [app] Cache::Put(string)[OptimizedTier1]", named("void [app] Cache::Put(string)", "", 0)),
            ("void [app] Cache::Put(string)[Tier0]", named("void [app] Cache::Put(string)", "", 0)),
            ("L;", named("L;", "", 0)),
        ];
        for (written, expected) in cases {
            assert_eq!(read(written), expected, "{written}");
        }
        for odd in ["", " ", ":", "JS:* :::", "JS:* a:99999999999:1", "[Tier0]", "\u{fffd}"] {
            drop(read(odd));
        }
    }
}
