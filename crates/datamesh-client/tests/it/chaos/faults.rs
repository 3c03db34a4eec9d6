//! Everything that goes wrong, and never more than the promise allows.

use std::collections::BTreeMap;
use std::time::Duration;

use datamesh_core::NodeId;
use datamesh_store::number_of;
use datamesh_testkit::sim::NetFault;
use tokio::time::sleep;

use super::member::Image;
use super::mesh::Mesh;
use crate::cluster::DISK_BYTES;

const YEAR_MS: u64 = 365 * 24 * 3600 * 1000;

/// Nodes that may be down at once, beside those that are lost.
const DOWN_MAX: usize = 3;

/// What was done to nodes and is to be undone.
#[derive(Default)]
pub(super) struct Faults {
    clocks: BTreeMap<NodeId, i64>,
    images: BTreeMap<NodeId, Image>,
    pub(super) lost: u64,
    pub(super) rotten: u64,
    pub(super) put_back: u64,
}

impl std::fmt::Display for Faults {
    fn fmt(&self, out: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { lost, rotten, put_back, .. } = self;
        write!(out, "{lost} nodes lost, {rotten} rotten, {put_back} put back from a copy")
    }
}

impl Faults {
    fn one(mesh: &Mesh, nodes: &[NodeId]) -> Option<NodeId> {
        let draw = mesh.world.draw(nodes.len() as u64) as usize;
        nodes.get(draw).copied()
    }

    /// One thing goes wrong, or right again.
    fn step(&mut self, mesh: &Mesh) {
        let world = &mesh.world;
        let up = mesh.up();
        let Some(node) = Self::one(mesh, &up) else { return };
        match world.draw(100) {
            0..18 => {
                if mesh.down().len() < DOWN_MAX {
                    mesh.with(node, |member| member.kill(world, world.draw(2) == 0));
                }
            }
            18..36 => {
                if let Some(node) = Self::one(mesh, &mesh.down()) {
                    mesh.start(node);
                }
            }
            36..46 => {
                let cut: Vec<NodeId> = up.iter().copied().filter(|_| world.draw(4) == 0).collect();
                world.partition(&[&cut]);
            }
            46..54 => world.heal(),
            54..64 => {
                let fault = NetFault {
                    loss: world.draw(150) as u32,
                    duplicate: world.draw(100) as u32,
                    reset: world.draw(50) as u32,
                    delay: Duration::from_millis(world.draw(3000)),
                    stall: world.draw(8) == 0,
                };
                world.set_fault(node, fault);
            }
            64..72 => {
                for node in mesh.living() {
                    world.set_fault(node, NetFault::default());
                }
            }
            72..76 => {
                if self.clocks.len() < 2 && !self.clocks.contains_key(&node) {
                    let ms = world.draw(2 * YEAR_MS) as i64 - YEAR_MS as i64;
                    world.jump_clock(node, ms);
                    self.clocks.insert(node, ms);
                } else {
                    self.set_clocks(mesh);
                }
            }
            76..80 => mesh.with(node, |member| {
                let disk = &member.seat.disk;
                disk.resize(disk.used() + world.draw(300_000));
            }),
            80..84 => self.give_room(mesh),
            84..89 => self.rot(mesh, node),
            89..92 => {
                mesh.with(node, |member| {
                    member.kill(world, true);
                    self.images.insert(node, member.image());
                });
                mesh.start(node);
            }
            92..95 => self.put_back(mesh),
            _ => self.lose(mesh),
        }
    }

    fn set_clocks(&mut self, mesh: &Mesh) {
        for (node, ms) in std::mem::take(&mut self.clocks) {
            mesh.world.jump_clock(node, -ms);
        }
    }

    fn give_room(&self, mesh: &Mesh) {
        for member in mesh.members().iter() {
            member.seat.disk.resize(DISK_BYTES);
        }
    }

    fn rot(&mut self, mesh: &Mesh, node: NodeId) {
        if !mesh.may_lose(&[node]) {
            return;
        }
        self.rotten += 1;
        mesh.with(node, |member| {
            let disk = &member.seat.disk;
            let names = disk.names();
            let packs: Vec<_> = names.iter().filter(|name| number_of(name).is_some()).collect();
            for _ in 0..=mesh.world.draw(3) {
                let Some(pack) = packs.get(mesh.world.draw(packs.len() as u64) as usize) else {
                    return;
                };
                let bits = disk.contents(pack).map_or(0, |bytes| 8 * bytes.len() as u64);
                disk.flip(pack, mesh.world.draw(bits));
            }
        });
    }

    fn put_back(&mut self, mesh: &Mesh) {
        let nodes: Vec<NodeId> = self.images.keys().copied().collect();
        let Some(node) = Self::one(mesh, &nodes) else { return };
        if !mesh.living().contains(&node) || !mesh.may_lose(&[node]) {
            return;
        }
        self.put_back += 1;
        mesh.with(node, |member| {
            member.kill(&mesh.world, true);
            member.put_back(&self.images[&node]);
        });
        mesh.start(node);
    }

    /// One or two nodes are lost for good, and as many join.
    fn lose(&mut self, mesh: &Mesh) {
        let mut nodes = mesh.living();
        let mut lost = Vec::new();
        for _ in 0..=mesh.world.draw(2) {
            let at = mesh.world.draw(nodes.len() as u64) as usize;
            lost.push(nodes.swap_remove(at));
        }
        if !mesh.may_lose(&lost) {
            return;
        }
        self.lost += lost.len() as u64;
        for node in lost {
            mesh.with(node, |member| {
                member.kill(&mesh.world, true);
                member.lost = true;
            });
            self.clocks.remove(&node);
            let joins = mesh.admit();
            mesh.start(joins);
        }
    }

    /// Things go wrong for so many steps; then everything is as it should be, but for what was lost.
    pub(super) async fn strike(mut self, mesh: &Mesh, steps: u64) -> Self {
        for _ in 0..steps {
            sleep(Duration::from_secs(10 + mesh.world.draw(300))).await;
            self.step(mesh);
        }
        self.stop(mesh);
        self
    }

    fn stop(&mut self, mesh: &Mesh) {
        mesh.world.heal();
        for node in mesh.living() {
            mesh.world.set_fault(node, NetFault::default());
        }
        self.set_clocks(mesh);
        self.give_room(mesh);
        for node in mesh.down() {
            mesh.start(node);
        }
    }
}
