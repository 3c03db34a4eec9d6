//! Sets of settings of the network: how much of it is switched on where nothing else is said.

use datamesh_net::Reach;

/// A set of settings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// The distributed hash table (Kademlia).
    pub dht: bool,
    /// Search of the local network (mDNS).
    pub mdns: bool,
    /// A port from the router (UPnP).
    pub upnp: bool,
    /// Peers find out whether this node can be reached (AutoNAT).
    pub probe: bool,
    /// Relays where it cannot.
    pub relays: bool,
    /// It is a relay for others.
    pub serve_relay: bool,
}

const NONE: Preset = Preset {
    name: "",
    about: "",
    dht: false,
    mdns: false,
    upnp: false,
    probe: false,
    relays: false,
    serve_relay: false,
};

/// All of them, the one that counts where none is chosen first.
pub const PRESETS: [Preset; 4] = [
    Preset {
        name: "public",
        about: "machines in different places, some of them behind routers",
        dht: true,
        mdns: true,
        upnp: true,
        probe: true,
        relays: true,
        serve_relay: true,
    },
    Preset {
        name: "local",
        about: "machines of one local network; nothing is sent beyond it but to named addresses",
        mdns: true,
        ..NONE
    },
    Preset {
        name: "test",
        about: "only addresses that were told: no search, no probes, no relays",
        ..NONE
    },
    Preset { name: "custom", about: "only what the settings network.… switch on", ..NONE },
];

/// The preset of a name.
pub(crate) fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}

impl Preset {
    /// The ways that it switches on.
    pub(crate) fn reach(&self) -> Reach {
        Reach {
            dht: self.dht,
            mdns: self.mdns,
            upnp: self.upnp,
            probe: self.probe,
            relays: self.relays,
            serve_relay: self.serve_relay,
            external: Vec::new(),
        }
    }
}
