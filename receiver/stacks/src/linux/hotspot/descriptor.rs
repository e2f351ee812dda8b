//! Names as the JVM keeps them, to names as people write them.

/// What hidden classes are called behind, which is another in each process: an address, or a number.
const LAMBDA: &str = "$$Lambda";
/// How classes end that have a number behind, in the order in which they were made.
const NUMBERED: [&str; 3] = ["MethodAccessor", "ConstructorAccessor", "$Proxy"];

/// `org.example.Pool` for `org/example/Pool`; hidden classes without what tells them from others of the same process.
pub(super) fn class(name: &str) -> String {
    let end = match name.find(LAMBDA) {
        Some(at) => at + LAMBDA.len(),
        None => ["+0x", "/0x"].iter().filter_map(|mark| name.find(mark)).min().unwrap_or(name.len()),
    };
    let name = name.get(..end).unwrap_or(name).replace('/', ".");
    // each process numbers what it makes for itself
    let plain = name.trim_end_matches(|digit: char| digit.is_ascii_digit());
    if NUMBERED.iter().any(|made| plain.ends_with(made)) { plain.to_owned() } else { name }
}

/// What a method takes: `int, byte[]` for `(I[B)V`. `None` for what is no such description.
pub(super) fn parameters(description: &str) -> Option<String> {
    let mut rest = description.strip_prefix('(')?;
    let mut all = Vec::new();
    while !rest.starts_with(')') {
        let element = rest.trim_start_matches('[');
        let arrays = rest.len() - element.len();
        let (kind, behind) = match element.chars().next()? {
            'L' => {
                let (name, behind) = element.get(1..)?.split_once(';')?;
                (class(name), behind)
            }
            letter => (primitive(letter)?.to_owned(), element.get(1..)?),
        };
        all.push(kind + &"[]".repeat(arrays));
        rest = behind;
    }
    Some(all.join(", "))
}

fn primitive(letter: char) -> Option<&'static str> {
    Some(match letter {
        'B' => "byte",
        'C' => "char",
        'D' => "double",
        'F' => "float",
        'I' => "int",
        'J' => "long",
        'S' => "short",
        'Z' => "boolean",
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Guarantees: parameters are told as in source; what is no description is told as none.
    #[test]
    fn descriptions() {
        for (written, expected) in [
            ("()V", Some("")),
            ("(I)V", Some("int")),
            (
                "(ILjava/lang/String;[B[[Lorg/a/B$C;JZ)D",
                Some("int, java.lang.String, byte[], org.a.B$C[][], long, boolean"),
            ),
            ("(Ljava/lang/String", None),
            ("(Q)V", None),
            ("(", None),
            ("([", None),
            ("", None),
            ("(\u{e9})V", None),
        ] {
            assert_eq!(parameters(written).as_deref(), expected, "{written}");
        }
    }

    /// Guarantees: a class has one name in every process, also one that is made at run time.
    #[test]
    fn classes() {
        for (written, expected) in [
            ("org/example/Pool", "org.example.Pool"),
            ("Leak$$Lambda$14+0x00007f0000c03000", "Leak$$Lambda"),
            ("Leak$$Lambda/0x0000000800c03000", "Leak$$Lambda"),
            ("java/lang/invoke/LambdaForm$MH+0x0000000800c04000", "java.lang.invoke.LambdaForm$MH"),
            (
                "jdk/internal/reflect/GeneratedMethodAccessor47",
                "jdk.internal.reflect.GeneratedMethodAccessor",
            ),
            ("jdk/proxy2/$Proxy123", "jdk.proxy2.$Proxy"),
            ("org/example/Pool2", "org.example.Pool2"),
            ("", ""),
        ] {
            assert_eq!(class(written), expected);
        }
    }
}
