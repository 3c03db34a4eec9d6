//! What comes over sockets, and files that lie in a home or are handed around.

/// An exchange of the network.
pub(crate) fn exchange(bytes: &[u8]) {
    datamesh_net::parsers::exchange(bytes);
}

/// The book of peers.
pub(crate) fn peer_book(bytes: &[u8]) {
    assert!(datamesh_net::parsers::peer_book(bytes), "a book that does not read again");
}

/// A frame of the local socket.
pub(crate) fn local(bytes: &[u8]) {
    datamesh_node::parsers::local(bytes);
}

/// The configuration.
pub(crate) fn config(bytes: &[u8]) {
    datamesh_node::parsers::config(bytes);
}

/// Other files of the home.
pub(crate) fn home(bytes: &[u8]) {
    datamesh_node::parsers::home(bytes);
}

/// What a mirror keeps of both sides, and the rules of what is left out.
pub(crate) fn sync(bytes: &[u8]) {
    assert!(datamesh_mirror::parsers::base(bytes), "a base that does not read again");
    assert!(datamesh_mirror::parsers::rules(bytes) <= bytes.len());
}
