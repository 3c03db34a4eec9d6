//! The integration tests of datamesh-core, one module a subject.

mod descriptor;
mod records;
mod vectors;
mod wire;
