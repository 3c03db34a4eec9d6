//! The settings that exist: names, defaults, what they mean, and what values they take.

use std::time::Duration;

use datamesh_api::grammar;
use datamesh_client::Compress;
use datamesh_core::{Domain, Genesis};
use datamesh_net::Rule;

use crate::bandwidth::{self, Plan, Terms};
use crate::presets::{self, PRESETS};

/// A setting that exists.
pub(super) struct Key {
    pub(super) name: &'static str,
    pub(super) default: &'static str,
    pub(super) about: &'static str,
    pub(super) check: fn(&str) -> Result<(), String>,
}

fn any_text(_: &str) -> Result<(), String> {
    Ok(())
}

/// Least time between exchanges: below it nodes would do nothing else.
const INTERVAL_MIN: Duration = Duration::from_millis(100);

fn is_duration(text: &str) -> Result<(), String> {
    humantime::parse_duration(text).map(drop).map_err(|error| error.to_string())
}

fn is_duration_or_nothing(text: &str) -> Result<(), String> {
    if text.is_empty() { Ok(()) } else { is_duration(text) }
}

fn is_count(text: &str) -> Result<(), String> {
    match text.parse::<u64>() {
        _ if text.is_empty() => Ok(()),
        Ok(0) => Err("the current version is always kept".to_owned()),
        Ok(_) => Ok(()),
        Err(_) => Err("it must be a whole number".to_owned()),
    }
}

fn is_lease_days(text: &str) -> Result<(), String> {
    match text.parse::<u32>() {
        _ if text.is_empty() => Ok(()),
        Ok(days) if days <= Genesis::LEASE_DAYS_MAX => Ok(()),
        _ => Err(format!("it must be 0 to {} days", Genesis::LEASE_DAYS_MAX)),
    }
}

fn is_interval(text: &str) -> Result<(), String> {
    match humantime::parse_duration(text) {
        Ok(interval) if interval >= INTERVAL_MIN => Ok(()),
        Ok(_) => Err(format!("it must be at least {}", humantime::format_duration(INTERVAL_MIN))),
        Err(error) => Err(error.to_string()),
    }
}

/// Least time for audits and scrubs: below it they would never rest.
const PERIOD_MIN: Duration = Duration::from_secs(1);

fn is_period(text: &str) -> Result<(), String> {
    match humantime::parse_duration(text) {
        Ok(period) if period >= PERIOD_MIN => Ok(()),
        Ok(_) => Err(format!("it must be at least {}", humantime::format_duration(PERIOD_MIN))),
        Err(error) => Err(error.to_string()),
    }
}

fn is_rate(text: &str) -> Result<(), String> {
    match parse_size(text)? {
        0 => Err("a rate of zero would never end".to_owned()),
        _ => Ok(()),
    }
}

/// The least that a node offers, in bytes: below it hardly a segment's shard finds room.
const OFFER_BYTES_MIN: u64 = 16 << 20;

fn is_offer(text: &str) -> Result<(), String> {
    match text {
        "" => Ok(()),
        text => match parse_size(text)? {
            0..OFFER_BYTES_MIN => Err(format!(
                "\"{text}\" is too little to store anything: a node offers at least 16MiB"
            )),
            _ => Ok(()),
        },
    }
}

pub(super) fn compression(text: &str) -> Option<Compress> {
    match text {
        "auto" => Some(Compress::Auto),
        "off" => Some(Compress::Off),
        _ => None,
    }
}

fn is_compression(text: &str) -> Result<(), String> {
    compression(text).map(drop).ok_or_else(|| "it is auto or off".to_owned())
}

fn is_rate_or_none(text: &str) -> Result<(), String> {
    parse_size(text).map(drop)
}

fn is_listen(text: &str) -> Result<(), String> {
    addresses(text).try_for_each(|address| {
        datamesh_net::check_listen(address).map_err(|error| error.to_string())
    })
}

/// The parts of a list of addresses.
pub(super) fn addresses(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|address| !address.is_empty())
}

fn is_domain(text: &str) -> Result<(), String> {
    if text.is_empty() {
        return Ok(());
    }
    text.parse::<Domain>().map(drop).map_err(|error| error.to_string())
}

fn is_external(text: &str) -> Result<(), String> {
    addresses(text).try_for_each(|address| {
        datamesh_net::check_dial(address).map_err(|error| error.to_string())
    })
}

/// Most rules of who may connect in one list.
const RULES_MAX: usize = 1024;

pub(super) fn rules(text: &str) -> Result<Vec<Rule>, String> {
    let rules: Vec<Rule> = addresses(text)
        .map(|rule| rule.parse().map_err(|error: datamesh_net::RuleError| error.to_string()))
        .collect::<Result<_, _>>()?;
    if rules.len() > RULES_MAX {
        return Err(format!("a list has at most {RULES_MAX} rules"));
    }
    Ok(rules)
}

fn is_rules(text: &str) -> Result<(), String> {
    rules(text).map(drop)
}

fn is_preset(text: &str) -> Result<(), String> {
    match presets::preset(text) {
        Some(_) => Ok(()),
        None => {
            let names: Vec<&str> = PRESETS.iter().map(|preset| preset.name).collect();
            Err(format!("presets are {}", names.join(", ")))
        }
    }
}

fn is_switch(text: &str) -> Result<(), String> {
    match text {
        "on" | "off" => Ok(()),
        _ => Err("it is on or off".to_owned()),
    }
}

fn is_switch_or_nothing(text: &str) -> Result<(), String> {
    if text.is_empty() { Ok(()) } else { is_switch(text) }
}

fn is_bandwidth(text: &str) -> Result<(), String> {
    bandwidth::parse_rate(text).map(drop)
}

fn is_schedule(text: &str) -> Result<(), String> {
    Plan::parse(text, Terms::default()).map(drop)
}

/// Bytes from text such as `8GiB`.
pub(crate) fn parse_size(text: &str) -> Result<u64, String> {
    let wrong = || format!("\"{text}\" is not a size: write 8GiB, 500MB or a number of bytes");
    grammar::bytes(text).ok_or_else(wrong)
}

/// All settings, in the order of their names.
pub(super) const KEYS: &[Key] = &[
    Key {
        name: "audit.period",
        default: "1d",
        about: "time in which each segment is audited once; the same on all nodes of a mesh",
        check: is_period,
    },
    Key {
        name: "audit.rate",
        default: "8MiB",
        about: "most bytes a second that other nodes read for this node's audits",
        check: is_rate,
    },
    Key {
        name: "bandwidth.down",
        default: "",
        about: "most bytes a second that this node receives of content; no limit if empty",
        check: is_bandwidth,
    },
    Key {
        name: "bandwidth.metered",
        default: "off",
        about: "bytes cost money: repair moves only what has no margin left",
        check: is_switch,
    },
    Key {
        name: "bandwidth.schedule",
        default: "",
        about: "what counts when, for instance: mon-fri 08:00-18:00 up=1MiB down=4MiB; sat,sun 22:00-06:00 metered",
        check: is_schedule,
    },
    Key {
        name: "bandwidth.up",
        default: "",
        about: "most bytes a second that this node sends of content; no limit if empty",
        check: is_bandwidth,
    },
    Key {
        name: "collection.clock",
        default: "10m",
        about: "nothing is removed while the clock differs from that of most members by more",
        check: is_duration,
    },
    Key {
        name: "collection.expired",
        default: "30d",
        about: "time after the end of a lease before its shards go to the trash",
        check: is_duration,
    },
    Key {
        name: "collection.interval",
        default: "30m",
        about: "time between passes of the collector",
        check: is_interval,
    },
    Key {
        name: "collection.reconcile",
        default: "24h",
        about: "time between comparisons of all segments with the releases that other holders know",
        check: is_interval,
    },
    Key {
        name: "collection.tombstone",
        default: "400d",
        about: "time for which a release is kept after the shards that it ended",
        check: is_duration,
    },
    Key {
        name: "collection.trash",
        default: "7d",
        about: "time for which a released shard waits in the trash, where a renewal takes it out",
        check: is_duration,
    },
    Key {
        name: "discovery.interval",
        default: "10m",
        about: "time between searches for members at bootstrap peers, in the hash table and nearby",
        check: is_interval,
    },
    Key {
        name: "leases.interval",
        default: "24h",
        about: "time between looks at when the account's leases end, where they do; what is due is renewed",
        check: is_interval,
    },
    Key {
        name: "membership.gossip_interval",
        default: "20s",
        about: "time between exchanges of adverts with a random member",
        check: is_interval,
    },
    Key {
        name: "membership.offline_after",
        default: "5m",
        about: "time without a word after which a member counts as silent",
        check: is_duration,
    },
    Key {
        name: "network.allow",
        default: "",
        about: "peer ids and networks such as 10.0.0.0/8 that alone may connect, with commas; everybody if empty",
        check: is_rules,
    },
    Key {
        name: "network.deny",
        default: "",
        about: "peer ids and networks that may not connect, with commas",
        check: is_rules,
    },
    Key {
        name: "network.dht",
        default: "",
        about: "on or off: distributed hash table of addresses (Kademlia); as the preset if empty",
        check: is_switch_or_nothing,
    },
    Key {
        name: "network.external",
        default: "",
        about: "multiaddrs at which this node can be reached from outside, with commas",
        check: is_external,
    },
    Key {
        name: "network.mdns",
        default: "",
        about: "on or off: search of the local network (mDNS); as the preset if empty",
        check: is_switch_or_nothing,
    },
    Key {
        name: "network.preset",
        default: "public",
        about: "public, local, test or custom; see datamesh networks",
        check: is_preset,
    },
    Key {
        name: "network.probe",
        default: "",
        about: "on or off: peers find out whether this node can be reached (AutoNAT); as the preset if empty",
        check: is_switch_or_nothing,
    },
    Key {
        name: "network.relays",
        default: "",
        about: "on or off: relays where this node cannot be reached; as the preset if empty",
        check: is_switch_or_nothing,
    },
    Key {
        name: "network.serve_relay",
        default: "",
        about: "on or off: be a relay for others where this node can be reached; as the preset if empty",
        check: is_switch_or_nothing,
    },
    Key {
        name: "network.upnp",
        default: "",
        about: "on or off: ask the router for a port (UPnP); as the preset if empty",
        check: is_switch_or_nothing,
    },
    Key {
        name: "repair.grace",
        default: "4h",
        about: "how long one silent holder of a segment is waited for before its shard is rebuilt",
        check: is_duration,
    },
    Key {
        name: "repair.interval",
        default: "1h",
        about: "time between looks at all segments that this node holds shards of",
        check: is_interval,
    },
    Key {
        name: "repair.rate",
        default: "32MiB",
        about: "bytes a second that repair may move; 0 for only what has no margin left",
        check: is_rate_or_none,
    },
    Key {
        name: "retention.keep",
        default: "",
        about: "newest versions of each file that cleanup keeps; all if this and the next are empty",
        check: is_count,
    },
    Key {
        name: "retention.younger_than",
        default: "",
        about: "age, for instance 90d, below which cleanup keeps every version",
        check: is_duration_or_nothing,
    },
    Key {
        name: "scrub.period",
        default: "30d",
        about: "time in which this node reads all its shards for rot",
        check: is_period,
    },
    Key {
        name: "scrub.rate",
        default: "16MiB",
        about: "most bytes a second that a scrub reads where it is behind",
        check: is_rate,
    },
    Key {
        name: "service.domain",
        default: "",
        about: "failure domain of this node, for instance zone-a/host-1; asked for once",
        check: is_domain,
    },
    Key {
        name: "service.lease_days",
        default: "",
        about: "days after which a lease ends, where this node founds a mesh; no end if empty or 0",
        check: is_lease_days,
    },
    Key {
        name: "service.listen",
        default: "/ip4/0.0.0.0/tcp/0, /ip4/0.0.0.0/udp/0/quic-v1",
        about: "multiaddrs to listen on, separated by commas",
        check: is_listen,
    },
    Key {
        name: "service.operator",
        default: "",
        about: "who answers for this node; asked for once",
        check: any_text,
    },
    Key {
        name: "service.storage",
        default: "",
        about: "bytes offered for shards, for instance 8GiB; half of the free space if empty",
        check: is_offer,
    },
    Key {
        name: "storage.compression",
        default: "auto",
        about: "auto compresses what is stored where a sample of it shrinks; off never does",
        check: is_compression,
    },
];
