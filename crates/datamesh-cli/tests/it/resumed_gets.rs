//! Gets of large files that die in the middle: the next get of the same file goes on where it was,
//! and what the dead one left is not believed.

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use datamesh_testkit::fixtures::noise;
use datamesh_testkit::processes::{Done, Mesh};
use rustix::process::{Pid, Signal, kill_process};

use crate::{PROGRAM, small_disk};

/// Far more than is under way at once.
const BYTES: usize = 200_000_000;

/// What a get must have written before it is killed.
const ENOUGH: u64 = 24 << 20;

/// Times that a get may be faster than its killer.
const TRIES: usize = 5;

/// A mesh with one large file in the account of `home`, and the folder that it is fetched to.
struct Scene {
    mesh: Mesh,
    home: &'static str,
    bytes: Vec<u8>,
    dest: PathBuf,
}

impl Scene {
    fn new(home: &'static str) -> Self {
        let mesh = Mesh::of(PROGRAM, 6);
        if home != "n0" {
            mesh.client(home);
        }
        let bytes = noise(7, BYTES);
        mesh.pipe(home, &["put", "--", "-", "large"], &bytes).ok();
        let dest = mesh.path("dest");
        fs::create_dir(&dest).unwrap();
        Self { mesh, home, bytes, dest }
    }

    fn get(&self, arguments: &[&str]) -> Command {
        let dest = self.mesh.text(&self.dest);
        let arguments = [&["get"], arguments, &["--", "large", &dest]].concat();
        self.mesh.command(self.home, &arguments)
    }

    /// What is in the folder.
    fn listed(&self) -> Vec<PathBuf> {
        fs::read_dir(&self.dest).unwrap().map(|entry| entry.unwrap().path()).collect()
    }

    /// Waits until so much of a get is written that some of it can be resumed. False where it ended
    /// before that.
    fn in_the_middle(&self, get: &mut Child) -> bool {
        let end = Instant::now() + Duration::from_secs(60);
        loop {
            let written = |path: &PathBuf| fs::metadata(path).is_ok_and(|file| file.len() > ENOUGH);
            if self.listed().iter().any(|path| is_part(path) && written(path)) {
                return true;
            }
            if get.try_wait().unwrap().is_some() {
                return false;
            }
            assert!(Instant::now() < end, "nothing is being fetched");
            std::thread::sleep(Duration::from_millis(1));
        }
    }

    /// Begins a get into an empty folder, and `kill` ends it in the middle. Returns what it said and
    /// the part that it left.
    fn interrupted(&mut self, kill: impl Fn(&mut Mesh, &mut Child)) -> (Done, PathBuf) {
        for _ in 0..TRIES {
            for path in self.listed() {
                fs::remove_file(path).unwrap();
            }
            let mut get =
                self.get(&[]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
            if self.in_the_middle(&mut get) {
                kill(&mut self.mesh, &mut get);
            }
            let done = Done::from(get.wait_with_output().unwrap());
            if done.code == 0 {
                continue;
            }
            let listed = self.listed();
            let [part] = listed.as_slice() else { panic!("{listed:?}") };
            assert!(is_part(part), "{listed:?}");
            return (done, part.clone());
        }
        panic!("{TRIES} gets were faster than their killer");
    }

    /// Repeats a get that was interrupted.
    fn resumed(&self) {
        let done: Done = self.get(&["--json"]).output().unwrap().into();
        let done = done.ok();
        let resumed = done.json()["resumed_bytes"].as_u64().unwrap();
        assert!(resumed >= ENOUGH && resumed <= BYTES as u64, "{}", done.out);
        assert_eq!(done.json()["bytes"], BYTES);
        assert!(done.err.contains("were fetched by an earlier get already"), "{}", done.err);
        self.assert_whole();
    }

    fn assert_whole(&self) {
        assert_eq!(self.listed(), [self.dest.join("large")]);
        assert!(fs::read(self.dest.join("large")).unwrap() == self.bytes);
    }

    fn killed(&mut self) -> PathBuf {
        self.interrupted(|_, get| get.kill().unwrap()).1
    }

    fn killed_and_resumed(&mut self) {
        self.killed();
        self.resumed();
        // What is whole is not resumed: the file may be fetched again because it is damaged.
        let again: Done = self.get(&["--json"]).output().unwrap().into();
        assert_eq!(again.ok().json()["resumed_bytes"], 0);
        self.assert_whole();
    }

    fn stopped_and_resumed(&mut self) {
        let (done, part) = self.interrupted(|_, get| {
            kill_process(Pid::from_raw(get.id() as i32).unwrap(), Signal::INT).unwrap();
        });
        assert_eq!(done.code, 130);
        assert!(done.err.contains("the same command will go on from there"), "{}", done.err);
        assert!(fs::metadata(part).unwrap().len() >= ENOUGH);
        self.resumed();
    }

    fn damage_is_found(&mut self) {
        let part = self.killed();
        let file = fs::File::options().write(true).open(part).unwrap();
        file.write_all_at(b"not what was there", 1_000_000).unwrap();
        let done: Done = self.get(&["--json"]).output().unwrap().into();
        let done = done.code(1);
        assert!(done.err.contains("damaged"), "{}", done.err);
        assert!(done.err.contains("repeat the command"), "{}", done.err);
        assert!(self.listed().is_empty());
        let again: Done = self.get(&["--json"]).output().unwrap().into();
        assert_eq!(again.ok().json()["resumed_bytes"], 0);
        self.assert_whole();
    }
}

fn is_part(path: &Path) -> bool {
    let name = path.file_name().unwrap().to_str().unwrap();
    name.starts_with(".large.") && name.ends_with(".datamesh-part")
}

#[test]
fn a_get_by_a_daemon_that_dies_is_resumed() {
    let mut scene = Scene::new("n0");
    scene.killed_and_resumed();
    scene.stopped_and_resumed();
    scene.damage_is_found();
    let (done, _) = scene.interrupted(|mesh, _| {
        mesh.kill(0);
        mesh.start(0, &[]);
    });
    assert!(done.err.contains("the connection to the daemon broke"), "{}", done.err);
    assert!(done.err.contains("the same command will go on from there"), "{}", done.err);
    scene.resumed();
}

#[test]
fn a_get_without_a_daemon_that_dies_is_resumed() {
    let mut scene = Scene::new("client");
    scene.killed_and_resumed();
    scene.stopped_and_resumed();
    scene.damage_is_found();
    // Too few are left to go on.
    let lost = [2, 3, 4];
    let (done, _) = scene.interrupted(|mesh, _| {
        for number in lost {
            mesh.kill(number);
        }
    });
    assert!(done.err.contains("the same command will go on from there"), "{}", done.err);
    for number in lost {
        scene.mesh.start(number, &[]);
    }
    scene.resumed();
}

#[test]
fn a_folder_is_resumed_in_its_large_files() {
    let mut scene = Scene::new("client");
    scene.mesh.pipe("client", &["put", "--", "-", "tree/deep/large"], &scene.bytes).ok();
    scene.mesh.pipe("client", &["put", "--", "-", "tree/small"], b"small").ok();
    // The part is that of the same content, whatever version of whatever file it was fetched as.
    let part = scene.killed();
    let deep = scene.mesh.path("back").join("deep");
    fs::create_dir_all(&deep).unwrap();
    fs::rename(&part, deep.join(part.file_name().unwrap())).unwrap();
    let back = scene.mesh.text(&scene.mesh.path("back"));
    let done = scene.mesh.run("client", &["get", "-r", "--json", "--", "tree", &back]).ok();
    assert_eq!(done.json()["files"], 2);
    assert!(done.json()["resumed_bytes"].as_u64().unwrap() >= ENOUGH, "{}", done.out);
    assert!(fs::read(deep.join("large")).unwrap() == scene.bytes);
    assert_eq!(fs::read_dir(&deep).unwrap().count(), 1);
}

#[test]
fn a_disk_that_is_full_costs_nothing_of_what_was_there() {
    let mesh = Mesh::of(PROGRAM, 6);
    let folder = mesh.path("small");
    fs::create_dir(&folder).unwrap();
    let bytes = noise(1, 40_000_000);
    mesh.pipe("n0", &["put", "--", "-", "large"], &bytes).ok();
    fs::write(mesh.path("part"), &bytes[..5_000_000]).unwrap();
    fs::write(mesh.path("whole"), &bytes).unwrap();
    let script = "cp \"$PART\" \"$FOLDER/$PART_NAME\"
         \"$PROGRAM\" --home \"$HOME_OF\" get -- large \"$FOLDER\"; echo \"code $?\"
         find \"$FOLDER\" -type f
         mount -o remount,size=64m \"$FOLDER\"
         \"$PROGRAM\" --home \"$HOME_OF\" get -q -- large \"$FOLDER\"; echo \"code $?\"
         cmp \"$WHOLE\" \"$FOLDER/large\" && find \"$FOLDER\" -type f";
    let name = format!(".large.{}.datamesh-part", &blake3::hash(&bytes).to_hex()[..32]);
    let Some(done) = small_disk::run(
        &mesh,
        (&folder, 8 << 20),
        script,
        &[
            ("PART", mesh.path("part").as_os_str()),
            ("PART_NAME", name.as_ref()),
            ("WHOLE", mesh.path("whole").as_os_str()),
        ],
    ) else {
        return;
    };
    let (part, large) = (folder.join(name), folder.join("large"));
    let fetched = format!("fetched large  {}", "38.1 MiB");
    let expected = format!("code 1\n{}\n{fetched}\ncode 0\n{}\n", part.display(), large.display());
    assert_eq!(done.out, expected, "{}", done.err);
    assert!(done.err.contains("no space left"), "{}", done.err);
}
