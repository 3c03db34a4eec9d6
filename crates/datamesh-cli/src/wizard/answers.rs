//! What was answered, and what follows from it.

/// What is to be set up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answers {
    /// Nothing where the machine is to hold nothing for others.
    pub(super) node: Option<Node>,
    pub(super) account: Account,
    /// The ticket of the mesh that is entered; nothing where one is founded or recovered.
    pub(super) ticket: Option<String>,
    /// The network's preset.
    pub(super) preset: String,
}

/// A node that holds shards.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    /// Bytes offered; empty for half of what is free.
    pub(super) storage: String,
    /// Where it listens; empty for the default.
    pub(super) listen: String,
    /// Its failure domain; empty where none was told.
    pub(super) domain: String,
}

/// The account of the home.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Account {
    /// One that is made now.
    Made,
    /// One that there is already, from its words, and the address of a node of its mesh.
    Recovered(Option<String>),
    None,
}

impl Answers {
    /// The settings that differ from the defaults.
    pub(super) fn settings(&self) -> Vec<(&'static str, String)> {
        let mut settings = vec![("network.preset", self.preset.clone())];
        if let Some(node) = &self.node {
            let told = [
                ("service.storage", &node.storage),
                ("service.listen", &node.listen),
                ("service.domain", &node.domain),
            ];
            let told = told.into_iter().filter(|(_, value)| !value.is_empty());
            settings.extend(told.map(|(key, value)| (key, value.clone())));
        }
        settings
    }

    /// The commands, without the program's name, that do the same.
    pub(super) fn commands(&self) -> Vec<String> {
        let mut commands: Vec<String> = self
            .settings()
            .into_iter()
            .map(|(key, value)| {
                let value = shlex::try_quote(&value).map_or_else(|_| value.clone(), Into::into);
                format!("config set {key} {value}")
            })
            .collect();
        match &self.account {
            Account::Made => commands.push("init".to_owned()),
            Account::Recovered(None) => commands.push("recover".to_owned()),
            Account::Recovered(Some(peer)) => commands.push(format!("recover --peer {peer}")),
            Account::None => {}
        }
        // The ticket is a secret: it is not shown again.
        commands.extend(self.ticket.as_ref().map(|_| "join TICKET".to_owned()));
        commands
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_and_commands_say_what_was_answered_and_no_secret() {
        let node = Node { storage: "8GiB".into(), listen: String::new(), domain: "a/b".into() };
        let answers = Answers {
            node: Some(node),
            account: Account::Made,
            ticket: Some("datamesh-invite-secret".into()),
            preset: "local".into(),
        };
        let settings: Vec<&str> = answers.settings().into_iter().map(|(key, _)| key).collect();
        assert_eq!(settings, ["network.preset", "service.storage", "service.domain"]);
        let commands = answers.commands();
        assert_eq!(commands[1], "config set service.storage 8GiB");
        assert_eq!(commands[3..], ["init", "join TICKET"]);
        assert!(!commands.join(" ").contains("secret"));
        let client =
            Answers { node: None, account: Account::Recovered(None), ticket: None, ..answers };
        assert_eq!(client.commands(), ["config set network.preset local", "recover"]);
    }
}
