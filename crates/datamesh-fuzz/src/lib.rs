//! Every parser that a stranger or a damaged disk can reach, as a function of bytes.
//!
//! The fuzzer calls these ([`fuzz/`](../../../fuzz)); the tests replay what it kept. Each function
//! must return whatever it is given: a panic, an endless loop or a wild allocation is a find. Where a
//! record is read, it must have one encoding, so it is written again and compared.
#![expect(clippy::panic, reason = "a find is told by panicking")]

mod archives;
mod database;
mod files;
mod pack;
mod records;
mod sealed;
mod share;
mod texts;

/// A parser and the name of its corpus.
pub type Parser = (&'static str, fn(&[u8]));

/// All parsers.
pub const PARSERS: &[Parser] = &[
    ("messages", records::messages),
    ("records", records::records),
    ("catalog", records::catalog),
    ("sealed", sealed::sealed),
    ("keystore", sealed::keystore),
    ("manifest", sealed::manifest),
    ("compressed", sealed::compressed),
    ("share", share::share),
    ("proof", sealed::proof),
    ("pack", pack::pack),
    ("texts", texts::texts),
    ("database", database::database),
    ("exchange", files::exchange),
    ("peer_book", files::peer_book),
    ("local", files::local),
    ("config", files::config),
    ("home", files::home),
    ("sync", files::sync),
    ("identity", pack::identity),
    ("archive", archives::archive),
    ("age", archives::age),
];

/// Calls the parser of that name.
///
/// # Panics
/// Where there is none, and where the parser finds something.
pub fn call(name: &str, bytes: &[u8]) {
    match PARSERS.iter().find(|(known, _)| *known == name) {
        Some((_, parser)) => parser(bytes),
        None => panic!("no parser is called {name}"),
    }
}
