//! `datamesh networks`.

use clap::Subcommand;
use datamesh_node::{PRESETS, Preset, config};
use serde_json::json;

use crate::context::Context;
use crate::error::{Outcome, Stop};
use crate::output::{Table, columns};

/// Show and choose how much of the network is switched on
///
/// A preset says what counts where no setting network.… says otherwise. What is chosen counts from the next
/// start of the service.
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  datamesh networks
  datamesh networks use local
  datamesh config set network.upnp off      one thing beside the preset")]
pub(crate) struct NetworksArgs {
    #[command(subcommand)]
    command: Option<NetworksCommand>,
}

#[derive(Debug, Subcommand)]
enum NetworksCommand {
    /// Show the presets and which counts
    List,
    /// Choose a preset
    Use {
        /// public, local, test or custom
        preset: String,
    },
}

fn answer(preset: &Preset, chosen: &str) -> serde_json::Value {
    json!({
        "name": preset.name,
        "about": preset.about,
        "chosen": preset.name == chosen,
        "dht": preset.reach.dht,
        "mdns": preset.reach.mdns,
        "upnp": preset.reach.upnp,
        "probe": preset.reach.probe,
        "relays": preset.reach.relays,
        "serve_relay": preset.reach.serve_relay,
    })
}

impl NetworksArgs {
    pub(crate) fn run(self, context: &Context) -> Result<Outcome, Stop> {
        let (home, output) = (&context.home, &context.output);
        if let Some(NetworksCommand::Use { preset }) = &self.command {
            config::set(home, "network.preset", preset)?;
        }
        let chosen = config::get(home, "network.preset")?.value;
        if output.is_for_programs() {
            let presets: Vec<_> = PRESETS.iter().map(|preset| answer(preset, &chosen)).collect();
            output.answer_rows(&presets, "", columns::PRESETS)?;
            return Ok(Outcome::Done);
        }
        let mut table = Table::new(&[
            "PRESET",
            "CHOSEN",
            "HASH TABLE",
            "MDNS",
            "UPNP",
            "PROBES",
            "RELAYS",
            "IS RELAY",
            "FOR",
        ]);
        let on = |it: bool| if it { "on" } else { "off" };
        for preset in PRESETS.iter() {
            table.row([
                preset.name,
                if preset.name == chosen { "yes" } else { "" },
                on(preset.reach.dht),
                on(preset.reach.mdns),
                on(preset.reach.upnp),
                on(preset.reach.probe),
                on(preset.reach.relays),
                on(preset.reach.serve_relay),
                preset.about,
            ]);
        }
        output.table(&table)?;
        Ok(Outcome::Done)
    }
}
