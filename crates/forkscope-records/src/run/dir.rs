//! Opening, continuing and closing a run directory.

use std::fs::{self, File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde_json::Value;

use super::append::AppendLog;
use super::clock::now_utc;
use super::files::{inside, remove_file, remove_tree, sync_dir, write_whole};
use super::folder::Folder;
use super::manifest::{RunJson, RunManifest, RunStatus, read_run_json};
use super::writer::TableWriter;
use crate::RecordsError;
use crate::table::Record;

/// Name of the folder for everything unfinished.
const SPOOL: &str = ".spool";

/// Whether something may lie in the output directory already.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// A new run: the directory must be absent or empty.
    Fresh,
    /// `--resume`: start where nothing is, continue what is incomplete, leave
    /// what is complete.
    Resume,
}

/// What was found at the output path.
#[derive(Debug)]
pub enum Opened {
    /// Nothing: the run starts.
    Start(RunDir),
    /// An incomplete run of the same settings: it continues.
    Continue(RunDir),
    /// A complete run of the same settings: there is nothing to do.
    AlreadyComplete(RunDir),
}

impl Opened {
    /// The run, if there is work to do.
    pub fn to_write(self) -> Option<RunDir> {
        match self {
            Self::Start(run) | Self::Continue(run) => Some(run),
            Self::AlreadyComplete(_) => None,
        }
    }
}

/// A run directory. Dropped before [`RunDir::complete`], it is marked
/// incomplete.
#[derive(Debug)]
pub struct RunDir {
    path: PathBuf,
    json: RunJson,
    began: Instant,
    seconds_before: f64,
    /// Held while the run may be written; `None` for a closed run.
    lock: Option<Arc<File>>,
}

impl RunDir {
    /// Opens the directory at `path` for a run as `manifest` says.
    pub fn open(
        path: impl AsRef<Path>,
        manifest: RunManifest,
        mode: Mode,
    ) -> Result<Opened, RecordsError> {
        let path = path.as_ref();
        let content = look(path)?;
        match (content, mode) {
            (Content::Nothing, _) => {}
            (_, Mode::Fresh) => {
                return Err(RecordsError::NotEmpty {
                    path: path.to_owned(),
                });
            }
            (Content::Foreign, Mode::Resume) => {
                return Err(RecordsError::NotARun {
                    path: path.to_owned(),
                });
            }
            (Content::Run, Mode::Resume) => return Self::resume(path, manifest),
        }
        let spool = path.join(SPOOL);
        fs::create_dir_all(&spool).map_err(RecordsError::write(path))?;
        let lock = take_lock(path)?;
        // Another process may have started the run between the look and the lock.
        if look(path)? != Content::Nothing {
            return Err(RecordsError::Locked {
                path: path.to_owned(),
            });
        }
        let run = Self::new(path, manifest.start(now_utc()), Some(lock));
        run.write_json()?;
        sync_dir(path)?;
        Ok(Opened::Start(run))
    }

    fn resume(path: &Path, manifest: RunManifest) -> Result<Opened, RecordsError> {
        let given = manifest.start(now_utc());
        let json = same_settings(path, &given)?;
        if json.status == RunStatus::Complete {
            sweep(path)?;
            return Ok(Opened::AlreadyComplete(Self::new(path, json, None)));
        }
        let spool = path.join(SPOOL);
        fs::create_dir_all(&spool).map_err(RecordsError::write(path))?;
        let lock = take_lock(path)?;
        // It may have been completed between the first look and the lock.
        let mut json = same_settings(path, &given)?;
        if json.status == RunStatus::Complete {
            drop(lock);
            sweep(path)?;
            return Ok(Opened::AlreadyComplete(Self::new(path, json, None)));
        }
        json.status = RunStatus::Running;
        json.timing.resumed = json.timing.resumed.saturating_add(1);
        json.timing.ended = None;
        json.timing.settings = manifest.free().clone();
        json.timing.parts.clear();
        let run = Self::new(path, json, Some(lock));
        run.write_json()?;
        Ok(Opened::Continue(run))
    }

    fn new(path: &Path, json: RunJson, lock: Option<Arc<File>>) -> Self {
        let seconds_before = json.timing.seconds;
        Self {
            path: path.to_owned(),
            json,
            began: Instant::now(),
            seconds_before,
            lock,
        }
    }

    /// The directory.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What `run.json` says now.
    pub fn json(&self) -> &RunJson {
        &self.json
    }

    /// The table `name` (`tokens` for `tokens.parquet`), with a row group every
    /// `row_group_rows` rows, continued where it was left.
    pub fn table<R: Record>(
        &self,
        name: &str,
        row_group_rows: usize,
    ) -> Result<TableWriter<R>, RecordsError> {
        let lock = self.writable()?;
        let path = inside(&self.path, &format!("{name}.parquet"))?;
        let spool = self.path.join(SPOOL).join(format!("{}.rows", flat(name)));
        TableWriter::open(path, spool, row_group_rows, lock)
    }

    /// Writes a document, e.g. `findings.json`, whole or not at all. Folders in
    /// `name` are made.
    pub fn write_atomic(&self, name: &str, bytes: &[u8]) -> Result<(), RecordsError> {
        self.writable()?;
        let path = inside(&self.path, name)?;
        let parent = path.parent().unwrap_or(&self.path);
        fs::create_dir_all(parent).map_err(RecordsError::write(&path))?;
        let temporary = self.path.join(SPOOL).join(format!("{}.tmp", flat(name)));
        write_whole(&temporary, &path, bytes)?;
        sync_dir(parent)
    }

    /// A folder that gets its name when it is whole, e.g. `checkpoints/step-000024`.
    pub fn folder(&self, name: &str) -> Result<Folder, RecordsError> {
        let lock = self.writable()?;
        let target = inside(&self.path, name)?;
        Folder::start(target, &self.path.join(SPOOL), &flat(name), lock)
    }

    /// Removes a folder or file, so that no half of it is ever seen under its
    /// name; that it is not there is fine.
    pub fn remove(&self, name: &str) -> Result<(), RecordsError> {
        self.writable()?;
        let path = inside(&self.path, name)?;
        let aside = self.path.join(SPOOL).join(format!("{}.before", flat(name)));
        remove(&aside)?;
        match fs::rename(&path, &aside) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(()),
            renamed => renamed.map_err(RecordsError::write(&path))?,
        }
        remove(&aside)
    }

    /// A file that only grows, e.g. `metrics.jsonl`, opened at its end.
    pub fn append_log(&self, name: &str) -> Result<AppendLog, RecordsError> {
        let lock = self.writable()?;
        AppendLog::open(inside(&self.path, name)?, lock)
    }

    /// Where a file of the run comes to lie, the folder for what is unfinished,
    /// and what keeps the run locked.
    pub(crate) fn spooled(
        &self,
        name: &str,
    ) -> Result<(PathBuf, PathBuf, Arc<File>), RecordsError> {
        let lock = self.writable()?;
        Ok((inside(&self.path, name)?, self.path.join(SPOOL), lock))
    }

    /// Notes something for `run.json` that is the same after every resume, e.g.
    /// a count. It is written with the next change of status.
    pub fn note(&mut self, name: &str, value: impl Into<Value>) {
        self.json.notes.insert(name.into(), value.into());
    }

    /// Notes the seconds that a part of the work took.
    pub fn time(&mut self, part: &str, seconds: f64) {
        self.json.timing.parts.insert(part.into(), seconds.into());
    }

    /// All files are there: removes what was unfinished and marks the run
    /// complete.
    pub fn complete(mut self) -> Result<RunDir, RecordsError> {
        let lock = self.writable()?;
        let spool = self.path.join(SPOOL);
        for entry in fs::read_dir(&spool).map_err(RecordsError::read(&spool))? {
            let path = entry.map_err(RecordsError::read(&spool))?.path();
            let has_rows = path.metadata().is_ok_and(|m| m.len() > 0);
            if has_rows && path.extension().is_some_and(|e| e == "rows") {
                return Err(RecordsError::Misuse(format!(
                    "{} was not finished",
                    path.display()
                )));
            }
        }
        sync_dir(&self.path)?;
        self.close(RunStatus::Complete)?;
        // Whoever gets the lock from here on finds the run complete.
        self.lock = None;
        drop(lock);
        remove_tree(&spool)?;
        Ok(self)
    }

    /// Marks the run incomplete: an error ended it, `--resume` continues it.
    pub fn mark_incomplete(mut self) -> Result<(), RecordsError> {
        self.writable()?;
        let closed = self.close(RunStatus::Incomplete);
        self.lock = None;
        closed
    }

    fn close(&mut self, status: RunStatus) -> Result<(), RecordsError> {
        self.json.status = status;
        self.json.timing.ended = Some(now_utc());
        self.json.timing.seconds = self.seconds_before + self.began.elapsed().as_secs_f64();
        self.write_json()
    }

    fn write_json(&self) -> Result<(), RecordsError> {
        let temporary = self.path.join(SPOOL).join("run.json.tmp");
        write_whole(
            &temporary,
            &self.path.join("run.json"),
            &self.json.to_bytes()?,
        )
    }

    fn writable(&self) -> Result<Arc<File>, RecordsError> {
        let closed = || RecordsError::Misuse(format!("{} is complete", self.path.display()));
        self.lock.clone().ok_or_else(closed)
    }

    /// Leaves everything as a killed process would.
    #[doc(hidden)]
    pub fn abandon(mut self) {
        self.lock = None;
    }
}

impl Drop for RunDir {
    fn drop(&mut self) {
        if self.lock.is_some() {
            // Nobody is left to tell; a run that still says `running` is not complete either.
            let _ = self.close(RunStatus::Incomplete);
        }
    }
}

fn remove(path: &Path) -> Result<(), RecordsError> {
    if path.is_dir() {
        remove_tree(path)
    } else {
        remove_file(path)
    }
}

/// A name with folders as the name of one file in the spool.
fn flat(name: &str) -> String {
    name.replace('/', "~")
}

#[derive(PartialEq, Eq)]
enum Content {
    Nothing,
    Foreign,
    Run,
}

/// What lies in a directory. A spool without `run.json` is what a start leaves
/// that was killed at once: nothing.
fn look(path: &Path) -> Result<Content, RecordsError> {
    let entries = match fs::read_dir(path) {
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Content::Nothing),
        entries => entries.map_err(RecordsError::read(path))?,
    };
    let mut content = Content::Nothing;
    for entry in entries {
        let name = entry.map_err(RecordsError::read(path))?.file_name();
        if name == "run.json" {
            return Ok(Content::Run);
        }
        if name != SPOOL {
            content = Content::Foreign;
        }
    }
    Ok(content)
}

fn same_settings(path: &Path, given: &RunJson) -> Result<RunJson, RecordsError> {
    let json = read_run_json(path)?;
    match json.first_difference(given) {
        None => Ok(json),
        Some(d) => Err(RecordsError::SettingDiffers {
            path: path.to_owned(),
            setting: d.setting,
            recorded: d.recorded,
            given: d.given,
        }),
    }
}

/// How often a lock that is held is tried again, and after how long: a process
/// that is just being started holds its parent's for a moment.
const TRIES: u32 = 25;
const PAUSE: std::time::Duration = std::time::Duration::from_millis(10);

/// An advisory lock that the system releases when the process ends, however.
fn take_lock(path: &Path) -> Result<Arc<File>, RecordsError> {
    let name = path.join(SPOOL).join("lock");
    let file = File::options()
        .create(true)
        .write(true)
        .truncate(false)
        .open(&name)
        .map_err(RecordsError::write(&name))?;
    for tried in 1.. {
        match file.try_lock() {
            Ok(()) => return Ok(Arc::new(file)),
            Err(TryLockError::WouldBlock) if tried < TRIES => std::thread::sleep(PAUSE),
            Err(TryLockError::WouldBlock) => break,
            Err(TryLockError::Error(e)) => return Err(RecordsError::write(&name)(e)),
        }
    }
    Err(RecordsError::Locked {
        path: path.to_owned(),
    })
}

/// Removes a spool that a process left which was killed after it had marked its
/// run complete.
fn sweep(path: &Path) -> Result<(), RecordsError> {
    let spool = path.join(SPOOL);
    if !spool.exists() {
        return Ok(());
    }
    match take_lock(path) {
        Ok(_lock) => remove_tree(&spool),
        Err(_) => Ok(()),
    }
}
