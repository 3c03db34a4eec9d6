//! Test hosts in network namespaces: a small internet, routers with NAT, local networks behind
//! them. Nothing in it has a way out.
//!
//! The internet is a bridge with addresses of TEST-NET-2 (198.51.100.0/24, RFC 5737). Needs root,
//! `ip` and `nft`; where that is missing a test says so and ends.
#![allow(
    clippy::unwrap_used,
    clippy::disallowed_methods,
    reason = "a test stops at the first surprise, and namespaces live in the real system"
)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};

/// Namespaces of this process so far, for names.
static COUNT: AtomicU32 = AtomicU32::new(0);

/// A small internet. Dropping it takes its namespaces away.
#[derive(Debug)]
pub struct Internet {
    prefix: String,
    namespaces: Vec<String>,
    links: u32,
    wires: Vec<Child>,
}

/// A host of it.
#[derive(Debug, Clone)]
pub struct Host {
    namespace: String,
    /// Where its cable is plugged in: namespace and interface.
    plug: (String, String),
}

fn run(program: &str, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(program)
        .args(arguments)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("{program}: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr).trim().to_owned();
    Err(format!("{program} {}: {said}", arguments.join(" ")))
}

/// Runs a line of words.
fn line(text: &str) -> Result<(), String> {
    let words: Vec<&str> = text.split_whitespace().collect();
    run(words[0], &words[1..])
}

impl Host {
    /// Runs a command on this host instead.
    pub fn command(&self, command: &Command) -> Command {
        let mut inside = Command::new("ip");
        inside.args(["netns", "exec", &self.namespace]).arg(command.get_program());
        inside.args(command.get_args()).stdin(Stdio::null());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => inside.env(name, value),
                None => inside.env_remove(name),
            };
        }
        inside
    }

    #[track_caller]
    fn ip(&self, text: &str) {
        line(&format!("ip -n {} {text}", self.namespace)).unwrap();
    }

    /// Pulls its cable.
    #[track_caller]
    pub fn unplug(&self) {
        line(&format!("ip -n {} link set {} down", self.plug.0, self.plug.1)).unwrap();
    }

    /// Plugs it in again.
    #[track_caller]
    pub fn plug(&self) {
        line(&format!("ip -n {} link set {} up", self.plug.0, self.plug.1)).unwrap();
    }

    /// Gives it another address in its network, in place of the one it has.
    #[track_caller]
    pub fn renumber(&self, address: &str) {
        self.ip("addr flush dev eth0");
        self.ip(&format!("addr add {address}/24 dev eth0"));
    }
}

impl Internet {
    /// An internet without hosts.
    ///
    /// # Errors
    /// Why there can be none here.
    pub fn build() -> Result<Self, String> {
        for tool in ["/usr/sbin/ip", "/usr/sbin/nft"] {
            if !Path::new(tool).exists() {
                return Err(format!("{tool} is missing"));
            }
        }
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let prefix = format!("dm{}x{number}", std::process::id());
        let mut internet = Self { prefix, namespaces: Vec::new(), links: 0, wires: Vec::new() };
        let wan = internet.namespace("wan")?;
        line(&format!("ip -n {wan} link add br0 type bridge"))?;
        line(&format!("ip -n {wan} link set br0 up"))?;
        // Rules can be made here at all.
        line(&format!("ip netns exec {wan} nft add table bridge weather"))?;
        Ok(internet)
    }

    fn namespace(&mut self, name: &str) -> Result<String, String> {
        let name = format!("{}-{name}", self.prefix);
        line(&format!("ip netns add {name}"))?;
        self.namespaces.push(name.clone());
        line(&format!("ip -n {name} link set lo up"))?;
        Ok(name)
    }

    fn wan(&self) -> String {
        format!("{}-wan", self.prefix)
    }

    /// A cable from `eth0`, or another interface, of one namespace to a bridge of another.
    fn cable(&mut self, from: &str, interface: &str, to: &str) -> (String, String) {
        self.cable_to(from, interface, to, "br0")
    }

    fn cable_to(
        &mut self,
        from: &str,
        interface: &str,
        to: &str,
        bridge: &str,
    ) -> (String, String) {
        let port = format!("port{}", self.links);
        self.links += 1;
        let to_be =
            format!("ip -n {from} link add {interface} type veth peer name {port} netns {to}");
        line(&to_be).unwrap();
        line(&format!("ip -n {to} link set {port} master {bridge}")).unwrap();
        line(&format!("ip -n {to} link set {port} up")).unwrap();
        line(&format!("ip -n {from} link set {interface} up")).unwrap();
        (to.to_owned(), port)
    }

    /// A host at 198.51.100.`number`.
    #[track_caller]
    pub fn host(&mut self, name: &str, number: u8) -> Host {
        let namespace = self.namespace(name).unwrap();
        let wan = self.wan();
        let plug = self.cable(&namespace, "eth0", &wan);
        let host = Host { namespace, plug };
        host.ip(&format!("addr add 198.51.100.{number}/24 dev eth0"));
        host
    }

    /// A host at 198.51.100.`number` at the end of a long wire. `wire` is a command that calls
    /// [`carry`](crate::wire::carry) with the names of two devices, the first and the second that it is
    /// given.
    ///
    /// # Errors
    /// Why there can be no such wire here.
    pub fn far_host(
        &mut self,
        name: &str,
        number: u8,
        wire: impl FnOnce(&str, &str) -> Command,
    ) -> Result<Host, String> {
        let wan = self.wan();
        let (near, far, bridge) =
            (format!("near{number}"), format!("far{number}"), format!("brf{number}"));
        line(&format!("ip -n {wan} link add {bridge} type bridge"))?;
        line(&format!("ip -n {wan} link set {bridge} up"))?;
        for (device, bridge) in [(&near, "br0"), (&far, bridge.as_str())] {
            line(&format!("ip -n {wan} tuntap add dev {device} mode tap"))?;
            line(&format!("ip -n {wan} link set {device} master {bridge}"))?;
            line(&format!("ip -n {wan} link set {device} up"))?;
        }
        let inside = Host { namespace: wan.clone(), plug: (wan.clone(), near.clone()) };
        let mut command = inside.command(&wire(&near, &far));
        command.stdout(Stdio::null()).stderr(Stdio::null());
        self.wires.push(command.spawn().map_err(|error| format!("the wire: {error}"))?);
        let namespace = self.namespace(name)?;
        let plug = self.cable_to(&namespace, "eth0", &wan, &bridge);
        let host = Host { namespace, plug };
        host.ip(&format!("addr add 198.51.100.{number}/24 dev eth0"));
        Ok(host)
    }

    /// Hosts at 192.168.`lan`.2 and on, behind a router at 198.51.100.`number` that translates
    /// addresses and lets nothing in that was not asked for.
    #[track_caller]
    pub fn behind_nat(&mut self, name: &str, number: u8, lan: u8, hosts: u8) -> Vec<Host> {
        let router = self.namespace(&format!("{name}-router")).unwrap();
        let wan = self.wan();
        self.cable(&router, "wan0", &wan);
        let ip = |text: &str| line(&format!("ip -n {router} {text}")).unwrap();
        ip(&format!("addr add 198.51.100.{number}/24 dev wan0"));
        ip("link add br0 type bridge");
        ip("link set br0 up");
        ip(&format!("addr add 192.168.{lan}.1/24 dev br0"));
        line(&format!("ip netns exec {router} sysctl -qw net.ipv4.ip_forward=1")).unwrap();
        let rules = [
            "table ip nat",
            "chain ip nat out { type nat hook postrouting priority 100 ; }",
            "rule ip nat out oifname wan0 masquerade",
            "chain ip nat in { type filter hook input priority 0 ; }",
            "rule ip nat in iifname wan0 ct state new drop",
            "chain ip nat through { type filter hook forward priority 0 ; }",
            "rule ip nat through iifname wan0 ct state new drop",
        ];
        for rule in rules {
            let (kind, rest) = rule.split_once(' ').unwrap();
            run("ip", &["netns", "exec", &router, "nft", "add", kind, rest]).unwrap();
        }
        (0..hosts)
            .map(|host| {
                let namespace = self.namespace(&format!("{name}-{host}")).unwrap();
                let plug = self.cable(&namespace, "eth0", &router);
                let it = Host { namespace, plug };
                it.ip(&format!("addr add 192.168.{lan}.{}/24 dev eth0", host + 2));
                it.ip(&format!("route add default via 192.168.{lan}.1"));
                it
            })
            .collect()
    }

    /// From now on the internet loses so many packets of a hundred.
    #[track_caller]
    pub fn lose(&self, percent: u8) {
        let wan = self.wan();
        let nft = |text: &str| {
            let (kind, rest) = text.split_once(' ').unwrap();
            run("ip", &["netns", "exec", &wan, "nft", kind, rest]).unwrap();
        };
        nft("flush table bridge weather");
        nft("add chain bridge weather rain { type filter hook forward priority 0 ; }");
        if percent > 0 {
            nft(&format!("add rule bridge weather rain numgen random mod 100 < {percent} drop"));
        }
    }
}

impl Drop for Internet {
    fn drop(&mut self) {
        for wire in &mut self.wires {
            drop(wire.kill());
            drop(wire.wait());
        }
        for namespace in &self.namespaces {
            drop(line(&format!("ip netns del {namespace}")));
        }
    }
}
