//! The types that can stand in a configuration.

use std::fmt;
use std::time::Duration;

use bytesize::ByteSize;
use serde_yaml::Value;

use crate::component::ComponentId;

/// A type that can stand in a configuration.
pub trait Setting: Sized {
    /// Reads a value.
    ///
    /// # Errors
    /// What is allowed here, as in "expected {error}".
    fn read(value: &Value) -> Result<Self, String>;
    /// The value as `print-config` shows it.
    fn show(&self) -> Value;
}

/// A setting that is one word out of a few. Whoever implements it is a [`Setting`].
pub trait Choice: Copy + PartialEq + 'static {
    /// The words, in the order in which they are offered.
    const WORDS: &'static [(&'static str, Self)];
}

impl<T: Choice> Setting for T {
    fn read(value: &Value) -> Result<Self, String> {
        let chosen = value.as_str().and_then(|word| T::WORDS.iter().find(|(known, _)| *known == word));
        chosen.map(|(_, choice)| *choice).ok_or_else(|| match T::WORDS {
            [(only, _)] => (*only).to_owned(),
            words => {
                let words: Vec<_> = words.iter().map(|(word, _)| *word).collect();
                format!("one of {}", words.join(", "))
            }
        })
    }

    fn show(&self) -> Value {
        T::WORDS.iter().find(|(_, choice)| choice == self).map_or(Value::Null, |(word, _)| (*word).into())
    }
}

impl Setting for bool {
    fn read(value: &Value) -> Result<Self, String> {
        value.as_bool().ok_or_else(|| match value.as_str() {
            Some("yes" | "no" | "on" | "off" | "y" | "n") => {
                "true or false (in YAML 1.2 this word is text)".to_owned()
            }
            Some("true" | "false") => "true or false without quotes".to_owned(),
            _ => "true or false".to_owned(),
        })
    }

    fn show(&self) -> Value {
        (*self).into()
    }
}

macro_rules! whole_numbers {
    ($($number:ty),+) => {$(
        impl Setting for $number {
            fn read(value: &Value) -> Result<Self, String> {
                match value {
                    Value::Number(number) => match (number.as_u64(), number.is_f64()) {
                        (Some(whole), _) => Self::try_from(whole)
                            .map_err(|_| format!("a whole number of at most {}", Self::MAX)),
                        (None, true) => Err("a whole number".to_owned()),
                        (None, false) => Err("a whole number from 0 up".to_owned()),
                    },
                    Value::String(text) if text.parse::<Self>().is_ok() => {
                        Err("a whole number without quotes".to_owned())
                    }
                    _ => Err("a whole number".to_owned()),
                }
            }

            fn show(&self) -> Value {
                (*self).into()
            }
        }
    )+};
}
whole_numbers!(u32, u64, usize);

impl Setting for f64 {
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::Number(number) => number.as_f64().filter(|number| number.is_finite()),
            _ => None,
        }
        .ok_or_else(|| match value.as_str() {
            Some(text) if text.parse::<f64>().is_ok_and(f64::is_finite) => {
                "a number without quotes".to_owned()
            }
            _ => "a number".to_owned(),
        })
    }

    fn show(&self) -> Value {
        (*self).into()
    }
}

impl Setting for String {
    fn read(value: &Value) -> Result<Self, String> {
        match value {
            Value::String(text) => Ok(text.clone()),
            Value::Number(_) | Value::Bool(_) => Err("text (put it in quotes)".to_owned()),
            _ => Err("text".to_owned()),
        }
    }

    fn show(&self) -> Value {
        self.as_str().into()
    }
}

/// Go's durations: a number with a unit, or several of them. Days, months and years are not among Go's units.
impl Setting for Duration {
    fn read(value: &Value) -> Result<Self, String> {
        let expected = || "a duration such as 30s, 1m30s or 500ms".to_owned();
        let text = value.as_str().ok_or_else(expected)?;
        let units = text.split(|c: char| c.is_ascii_digit() || c == '.').filter(|unit| !unit.is_empty());
        if !units.clone().all(|unit| matches!(unit, "ns" | "us" | "µs" | "ms" | "s" | "m" | "h")) {
            return Err(expected());
        }
        let duration = humantime::parse_duration(text).map_err(|_| expected())?;
        // Go counts nanoseconds in 64 bits; within that no clock arithmetic of ours can overflow.
        if duration.as_nanos() > i64::MAX as u128 {
            return Err("a duration below 292 years".to_owned());
        }
        Ok(duration)
    }

    fn show(&self) -> Value {
        if self.is_zero() {
            return "0s".into();
        }
        // humantime would turn 24h into 1day, which is no duration here.
        let (hours, rest) =
            (self.as_secs() / 3600, *self - Duration::from_secs(self.as_secs() / 3600 * 3600));
        let mut text = if hours > 0 { format!("{hours}h") } else { String::new() };
        if !rest.is_zero() {
            text.push_str(&humantime::format_duration(rest).to_string().replace(' ', ""));
        }
        text.into()
    }
}

/// Bytes: a whole number, or one with a unit (`10KiB` is 1024-based, `10KB` 1000-based).
impl Setting for ByteSize {
    fn read(value: &Value) -> Result<Self, String> {
        let expected = || "a size such as 10240, 10KiB or 64MiB".to_owned();
        match value {
            Value::Number(number) => number.as_u64().map(ByteSize).ok_or_else(expected),
            Value::String(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => Err(expected()),
            Value::String(text) => {
                let size: ByteSize = text.parse().map_err(|_| expected())?;
                // The crate saturates; a size that large was never meant.
                if size.0 > i64::MAX as u64 { Err("a size below 8EiB".to_owned()) } else { Ok(size) }
            }
            _ => Err(expected()),
        }
    }

    fn show(&self) -> Value {
        let units = [("GiB", bytesize::GIB), ("MiB", bytesize::MIB), ("KiB", bytesize::KIB)];
        match units.iter().find(|(_, size)| self.0 >= *size && self.0.is_multiple_of(*size)) {
            Some((unit, size)) => format!("{}{unit}", self.0 / size).into(),
            None => self.0.into(),
        }
    }
}

impl Setting for ComponentId {
    fn read(value: &Value) -> Result<Self, String> {
        let text = value.as_str().ok_or_else(|| "a component id: `type` or `type/name`".to_owned())?;
        ComponentId::parse(text)
    }

    fn show(&self) -> Value {
        self.to_string().into()
    }
}

/// `host:port`, as in `localhost:9464` or `[::1]:9464`. Names are resolved by whoever uses it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// A name or an address; IPv6 without its brackets.
    pub host: String,
    /// 0 lets the system choose, where something listens.
    pub port: u16,
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

impl Endpoint {
    fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        if !port.bytes().all(|byte| byte.is_ascii_digit()) {
            return None;
        }
        let port = port.parse().ok()?;
        let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
            Some(address) => address.parse::<std::net::Ipv6Addr>().ok().map(|_| address)?,
            None if host.is_empty() => return None,
            None => Some(host)
                .filter(|host| host.chars().all(|c| c.is_alphanumeric() || matches!(c, '.' | '-' | '_')))?,
        };
        Some(Self { host: host.to_owned(), port })
    }
}

impl Setting for Endpoint {
    fn read(value: &Value) -> Result<Self, String> {
        value
            .as_str()
            .and_then(Endpoint::parse)
            .ok_or_else(|| "host:port without a scheme, such as localhost:9464 or [::1]:9464".to_owned())
    }

    fn show(&self) -> Value {
        self.to_string().into()
    }
}
