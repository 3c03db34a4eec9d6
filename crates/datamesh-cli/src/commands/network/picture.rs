//! The topology as a picture: SVG for browsers, DOT for Graphviz.
//!
//! Names of domains come from strangers: they are escaped for the language that they stand in.

use std::collections::BTreeMap;
use std::f64::consts::TAU;
use std::fmt::Write as _;

use datamesh_api::{NetworkNode, NetworkReply, PeerState};
use datamesh_core::NodeId;

use super::topology::{brief, standing};
use crate::output::{short, visible};

/// One connection, by whichever ends told of it.
struct Edge {
    a: NodeId,
    b: NodeId,
    /// The shorter of the round trips.
    round_trip_ms: Option<f64>,
    relayed: bool,
}

fn edges(reply: &NetworkReply) -> Vec<Edge> {
    let mut edges: BTreeMap<(NodeId, NodeId), Edge> = BTreeMap::new();
    for link in &reply.links {
        let (a, b) = (link.from.min(link.to), link.from.max(link.to));
        let edge =
            edges.entry((a, b)).or_insert(Edge { a, b, round_trip_ms: None, relayed: false });
        edge.relayed |= link.relayed;
        edge.round_trip_ms = match (edge.round_trip_ms, link.round_trip_ms) {
            (Some(one), Some(other)) => Some(one.min(other)),
            (one, other) => one.or(other),
        };
    }
    edges.into_values().collect()
}

/// A colour of its own for each domain, as a hue.
fn hues(reply: &NetworkReply) -> BTreeMap<&str, usize> {
    let mut domains: BTreeMap<&str, usize> =
        reply.nodes.iter().filter_map(|node| Some((node.domain.as_deref()?, 0))).collect();
    let count = domains.len().max(1);
    for (at, hue) in domains.values_mut().enumerate() {
        *hue = at * 360 / count;
    }
    domains
}

fn label(node: &NetworkNode) -> (String, String) {
    let domain = visible(node.domain.as_deref().unwrap_or("no member"));
    (short(&node.node), domain)
}

fn xml(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            '\'' => out.push_str("&#39;"),
            c => out.push(c),
        }
    }
    out
}

/// A picture: nodes on a circle, those of a domain beside each other.
pub(super) fn svg(reply: &NetworkReply) -> String {
    let mut nodes: Vec<&NetworkNode> = reply.nodes.iter().collect();
    nodes.sort_by_key(|node| (&node.domain, node.node));
    let radius = (nodes.len() as f64 * 34.0 / TAU).max(160.0);
    let middle = radius + 130.0;
    let place = |at: usize| {
        let angle = TAU * at as f64 / nodes.len().max(1) as f64 - TAU / 4.0;
        (middle + radius * angle.cos(), middle + radius * angle.sin(), angle)
    };
    let places: BTreeMap<NodeId, (f64, f64)> = nodes
        .iter()
        .enumerate()
        .map(|(at, node)| {
            let (x, y, _) = place(at);
            (node.node, (x, y))
        })
        .collect();
    let hues = hues(reply);
    let side = 2.0 * middle;
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&text);
        out.push('\n');
    };
    line(format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {side:.0} {side:.0}\" \
         width=\"{side:.0}\" height=\"{side:.0}\" font-family=\"sans-serif\" font-size=\"12\">"
    ));
    line("<title>Connections of a mesh</title>".to_owned());
    line(format!("<rect width=\"{side:.0}\" height=\"{side:.0}\" fill=\"#ffffff\"/>"));
    for edge in edges(reply) {
        let (Some(a), Some(b)) = (places.get(&edge.a), places.get(&edge.b)) else { continue };
        let dashes = if edge.relayed { " stroke-dasharray=\"6 4\"" } else { "" };
        // Slow ways are paler.
        let grey = edge.round_trip_ms.map_or(200.0, |ms| (60.0 + ms).min(210.0));
        let title = match edge.round_trip_ms {
            Some(ms) => format!("{} ms", brief(ms)),
            None => "not measured".to_owned(),
        };
        line(format!(
            "<line x1=\"{:.1}\" y1=\"{:.1}\" x2=\"{:.1}\" y2=\"{:.1}\" \
             stroke=\"rgb({grey:.0},{grey:.0},{grey:.0})\"{dashes}><title>{title}</title></line>",
            a.0, a.1, b.0, b.1
        ));
    }
    for (at, node) in nodes.iter().enumerate() {
        let (x, y, angle) = place(at);
        let hue = node.domain.as_deref().and_then(|domain| hues.get(domain)).copied();
        let fill = match (node.state, hue) {
            (Some(PeerState::Alive | PeerState::Draining), Some(hue)) => {
                format!("hsl({hue},60%,55%)")
            }
            _ => "#dddddd".to_owned(),
        };
        let ring = if node.local { 3 } else { 1 };
        let (id, domain) = label(node);
        line(format!(
            "<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"9\" fill=\"{fill}\" stroke=\"#222222\" \
             stroke-width=\"{ring}\"><title>{} {}</title></circle>",
            xml(&node.node.to_string()),
            standing(node)
        ));
        let (tx, ty) = (x + 16.0 * angle.cos(), y + 16.0 * angle.sin() + 4.0);
        let anchor = match angle.cos() {
            cos if cos > 0.2 => "start",
            cos if cos < -0.2 => "end",
            _ => "middle",
        };
        line(format!(
            "<text x=\"{tx:.1}\" y=\"{ty:.1}\" text-anchor=\"{anchor}\">{} \
             <tspan fill=\"#666666\">{}</tspan></text>",
            xml(&id),
            xml(&domain)
        ));
    }
    line("</svg>".to_owned());
    out
}

fn quoted(text: &str) -> String {
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The graph in the language of Graphviz.
pub(super) fn dot(reply: &NetworkReply) -> String {
    let mut out =
        String::from("graph mesh {\n  layout=circo;\n  node [shape=box, style=rounded];\n");
    for node in &reply.nodes {
        let (id, domain) = label(node);
        let pen = if node.local { ", penwidth=3" } else { "" };
        let (name, label) = (quoted(&node.node.to_string()), quoted(&format!("{id}\n{domain}")));
        // Writing to a text cannot fail.
        let _infallible = writeln!(out, "  {name} [label={}{pen}];", label.replace('\n', "\\n"));
    }
    for edge in edges(reply) {
        let style = if edge.relayed { ", style=dashed" } else { "" };
        let time = edge.round_trip_ms.map_or(String::new(), |ms| format!("{} ms", brief(ms)));
        let (a, b) = (quoted(&edge.a.to_string()), quoted(&edge.b.to_string()));
        let _infallible = writeln!(out, "  {a} -- {b} [label={}{style}];", quoted(&time));
    }
    out.push_str("}\n");
    out
}

#[cfg(test)]
mod tests {
    use datamesh_api::{Asked, NetworkLink};

    use super::*;

    fn reply() -> NetworkReply {
        let node = |number: u8, domain: &str| NetworkNode {
            node: NodeId([number; 32]),
            domain: Some(domain.to_owned()),
            state: Some(PeerState::Alive),
            local: number == 1,
            distance: Some(u32::from(number > 1)),
            asked: Asked::Told,
            connected: Some(1),
        };
        let link = |from: u8, to: u8, ms: Option<f64>| NetworkLink {
            from: NodeId([from; 32]),
            to: NodeId([to; 32]),
            round_trip_ms: ms,
            relayed: false,
        };
        NetworkReply {
            nodes: vec![node(1, "a"), node(2, "</text><script>\"&'\\")],
            links: vec![link(1, 2, Some(3.0)), link(2, 1, Some(2.0))],
            more: false,
        }
    }

    #[test]
    fn a_connection_that_both_ends_told_of_is_one_line_with_the_shorter_time() {
        let edges = edges(&reply());
        assert_eq!(edges.len(), 1);
        assert_eq!(edges[0].round_trip_ms, Some(2.0));
        assert_eq!(svg(&reply()).matches("<line ").count(), 1);
        assert_eq!(dot(&reply()).matches(" -- ").count(), 1);
    }

    #[test]
    fn the_name_of_a_domain_cannot_leave_its_place() {
        let svg = svg(&reply());
        assert!(
            !svg.contains("<script>") && svg.contains("&lt;script&gt;&quot;&amp;&#39;"),
            "{svg}"
        );
        let dot = dot(&reply());
        assert!(dot.contains(r#"<script>\"&'\\""#), "{dot}");
    }
}
