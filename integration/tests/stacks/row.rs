//! A row of the matrix: a program, how it is made and looked at, and what is to come out.

/// See the module.
pub(crate) struct Row {
    /// As the table shows it.
    pub(crate) name: String,
    pub(crate) made: Made,
    pub(crate) place: Place,
    /// The function that leaks, by its bare name.
    pub(crate) site: &'static str,
    /// There is debug information: the file and the line of the function are told as well.
    pub(crate) lines: bool,
    /// There is no name for it: its module, build id and offset are told.
    pub(crate) stripped: bool,
    /// Further options of `inspect`.
    pub(crate) options: Vec<&'static str>,
    /// Of what the probes see.
    pub(crate) allocations: Goal,
    /// Of what page faults show.
    pub(crate) growth: Goal,
}

/// How a program comes about.
pub(crate) enum Made {
    /// By a compiler: its name, the source in `targets/stacks`, the flags.
    Compiled(&'static str, &'static str, Vec<&'static str>),
    /// By Go: the folder, the flags of `go build`.
    Go(&'static str, Vec<&'static str>),
    /// An interpreter that runs `leak.py`.
    Python(String),
    /// `leak.js`: the flags of `node`, the arguments of the program.
    Node(Vec<&'static str>, Vec<&'static str>),
    /// `Leak.java`: the flags of `java`, the arguments of the program, and whether a perf map is asked for.
    Java(Vec<&'static str>, Vec<&'static str>, bool),
}

/// Where it runs.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    Host,
    /// A container with its own copy of what the program needs.
    Container,
}

/// Which share of what is kept is to be blamed on the function that keeps it.
#[derive(Clone, Copy)]
pub(crate) enum Goal {
    /// All of it.
    All,
    /// So much of the bytes at least, for a reason.
    Least(f64, &'static str),
    /// Nothing can be seen of it, for a reason.
    Unseen(&'static str),
}

impl Goal {
    /// It is reached by these shares of the bytes and of the stacks. Estimates are rounded.
    pub(crate) fn is_met(self, bytes: f64, stacks: f64) -> bool {
        match self {
            Self::All => bytes >= 0.995 && stacks >= 0.995,
            // how many stacks the rest has is nothing that matters
            Self::Least(share, _) => bytes >= share,
            Self::Unseen(_) => true,
        }
    }

    pub(crate) fn reason(self) -> Option<&'static str> {
        match self {
            Self::All => None,
            Self::Least(_, reason) | Self::Unseen(reason) => Some(reason),
        }
    }
}

impl Row {
    fn new(name: String, made: Made, site: &'static str, lines: bool) -> Self {
        Self {
            name,
            made,
            place: Place::Host,
            site,
            lines,
            stripped: false,
            options: Vec::new(),
            allocations: Goal::All,
            growth: Goal::All,
        }
    }

    /// By a compiler: flags as they are written on a command line. With `-DINLINED` and no debug information the function that
    /// the leaking one was inlined into is all there is.
    pub(crate) fn compiled(compiler: &'static str, source: &'static str, flags: &'static str) -> Self {
        let name = format!("{compiler} {flags}");
        let flags: Vec<&str> = flags.split_whitespace().collect();
        let lines = flags.iter().any(|flag| *flag == "-g" || *flag == "-Cdebuginfo=2");
        let inlined = flags.iter().any(|flag| flag.contains("INLINED") || *flag == "inlined");
        let site = if inlined && !lines { "remember" } else { "leak_site" };
        Self::new(name, Made::Compiled(compiler, source, flags), site, lines)
    }

    /// By Go.
    pub(crate) fn go(folder: &'static str, flags: &[&'static str]) -> Self {
        let name = format!("go build {}", flags.join(" ")).trim_end().to_owned();
        Self::new(name, Made::Go(folder, flags.to_vec()), "leakSite", true)
    }

    /// By an interpreter of Python.
    pub(crate) fn python(name: &str, program: &str) -> Self {
        Self::new(name.to_owned(), Made::Python(program.to_owned()), "leak_site", true)
    }

    /// By Node: its flags, the program's arguments.
    pub(crate) fn node(flags: &[&'static str], arguments: &[&'static str]) -> Self {
        let words: Vec<&str> = ["node"].into_iter().chain(flags.iter().copied()).collect();
        let made = Made::Node(flags.to_vec(), arguments.to_vec());
        Self::new(words.join(" "), made, "leakSite", true)
    }

    /// By the JVM: its flags, the program's arguments, and whether a perf map is made.
    pub(crate) fn java(flags: &[&'static str], arguments: &[&'static str], map: bool) -> Self {
        let words: Vec<&str> = ["java"].into_iter().chain(flags.iter().copied()).collect();
        Self::new(words.join(" "), Made::Java(flags.to_vec(), arguments.to_vec(), map), "leakSite", true)
    }

    pub(crate) fn named(mut self, addition: &str) -> Self {
        self.name += addition;
        self
    }

    /// Without symbols.
    pub(crate) fn stripped(mut self) -> Self {
        (self.stripped, self.lines) = (true, false);
        self.named(", stripped")
    }

    /// In another function than usual.
    pub(crate) fn leaking_in(mut self, site: &'static str) -> Self {
        self.site = site;
        self
    }

    pub(crate) fn in_container(mut self) -> Self {
        self.place = Place::Container;
        self.named(", container")
    }

    pub(crate) fn looked_at(mut self, options: &[&'static str]) -> Self {
        self.options = options.to_vec();
        self.named(&format!(", {}", options.join(" ")))
    }

    pub(crate) fn allocations(mut self, goal: Goal) -> Self {
        self.allocations = goal;
        self
    }

    pub(crate) fn growth(mut self, goal: Goal) -> Self {
        self.growth = goal;
        self
    }
}

/// Tests, one a row: a name, and the row.
macro_rules! rows {
    ($($test:ident => $row:expr,)*) => {$(
        /// Guarantees: the row's goals: what the program keeps is blamed on the function that keeps it.
        /// Needs: root, eBPF, what makes and runs the program.
        #[test]
        fn $test() {
            crate::look::check(&$row);
        }
    )*};
}
pub(crate) use rows;
