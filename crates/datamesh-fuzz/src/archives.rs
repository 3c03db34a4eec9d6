//! Archives that somebody brings in.

/// A tar, tar.zst or zip, whichever it begins as.
pub(crate) fn archive(bytes: &[u8]) {
    datamesh_archive::parsers::archive(bytes);
    assert!(datamesh_archive::parsers::metadata(bytes), "metadata that does not read again");
}

/// The part of a sealed stream that is read before the password is asked for.
pub(crate) fn age(bytes: &[u8]) {
    if datamesh_crypto::age::check(bytes).is_ok() {
        assert!(datamesh_crypto::age::is_age(bytes), "a stream without its mark");
    }
}
