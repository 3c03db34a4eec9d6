//! Sets of settings of the network: how much of it is switched on where nothing else is said.

use datamesh_net::Reach;

/// A set of settings.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Preset {
    /// Its name.
    pub name: &'static str,
    /// What it is for.
    pub about: &'static str,
    /// What it switches on.
    pub reach: Reach,
}

const NOTHING: Reach = Reach {
    dht: false,
    mdns: false,
    upnp: false,
    probe: false,
    relays: false,
    serve_relay: false,
    external: Vec::new(),
};

/// All of them, the one that counts where none is chosen first.
pub static PRESETS: [Preset; 4] = [
    Preset {
        name: "public",
        about: "machines in different places, some of them behind routers",
        reach: Reach {
            dht: true,
            mdns: true,
            upnp: true,
            probe: true,
            relays: true,
            serve_relay: true,
            external: Vec::new(),
        },
    },
    Preset {
        name: "local",
        about: "machines of one local network; nothing is sent beyond it but to named addresses",
        reach: Reach {
            dht: false,
            mdns: true,
            upnp: false,
            probe: false,
            relays: false,
            serve_relay: false,
            external: Vec::new(),
        },
    },
    Preset {
        name: "test",
        about: "only addresses that were told: no search, no probes, no relays",
        reach: NOTHING,
    },
    Preset {
        name: "custom", about: "only what the settings network.… switch on", reach: NOTHING
    },
];

/// The preset of a name.
pub(crate) fn preset(name: &str) -> Option<&'static Preset> {
    PRESETS.iter().find(|preset| preset.name == name)
}
