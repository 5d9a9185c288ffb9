//! From a folder of files to policies.

use std::collections::BTreeSet;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::model::{Policy, PolicyName};
use super::parse::Sheet;
use super::problem::{self, Problem, Severity};
use super::secrets::Environment;
use super::suggest::nearest;
use super::validate::{self, Part, Parts};
use crate::base::{Error, Result};

/// Variable that names the folder of policies.
pub const DIRECTORY_VARIABLE: &str = "PGKEEP_POLICIES";
/// The folder of policies where nothing else names one and there is none in the working directory.
pub const SYSTEM_DIRECTORY: &str = "/etc/pgkeep/policies";
/// The file with sections that all policies share.
const DEFAULTS: &str = "defaults.toml";

/// A policy that can be used.
#[derive(Debug, Clone)]
pub struct Loaded {
    /// The policy.
    pub policy: Policy,
    /// What is probably not as meant.
    pub warnings: Vec<Problem>,
}

/// What `policy check` found.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The folder.
    pub directory: PathBuf,
    /// Files that were read.
    pub files: Vec<PathBuf>,
    /// Names of the policies that can be used.
    #[serde(serialize_with = "names")]
    pub policies: Vec<Policy>,
    /// Every problem, by file and line.
    pub problems: Vec<Problem>,
}

impl Report {
    /// Fails when any file has an error.
    pub fn into_result(self) -> Result<Self> {
        problem::as_error(&self.problems).map_or(Ok(self), Err)
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for problem in &self.problems {
            writeln!(f, "{problem}")?;
        }
        let errors = self.problems.iter().filter(|p| p.severity == Severity::Error).count();
        let warnings = self.problems.len() - errors;
        let plural = |n: usize, what: &str| if n == 1 { format!("{n} {what}") } else { format!("{n} {what}s") };
        write!(
            f,
            "{} in {}: {}, {}",
            plural(self.files.len(), "file"),
            self.directory.display(),
            plural(errors, "error"),
            plural(warnings, "warning")
        )
    }
}

#[allow(clippy::ptr_arg, reason = "serde passes the field's type")]
fn names<S: serde::Serializer>(policies: &Vec<Policy>, serializer: S) -> std::result::Result<S::Ok, S::Error> {
    serializer.collect_seq(policies.iter().map(|p| p.name.as_str()))
}

/// The folder of policies: `flag`, else [`DIRECTORY_VARIABLE`], else `policies` in the working directory if it is there, else
/// [`SYSTEM_DIRECTORY`].
pub fn directory(flag: Option<&Path>, env: &Environment) -> PathBuf {
    if let Some(flag) = flag {
        return flag.to_owned();
    }
    if let Some(named) = env.var(DIRECTORY_VARIABLE).filter(|v| !v.expose().is_empty()) {
        return PathBuf::from(named.expose());
    }
    let here = Path::new("policies");
    if here.is_dir() { here.to_owned() } else { PathBuf::from(SYSTEM_DIRECTORY) }
}

/// One policy. Only problems of its own file and of `defaults.toml` stop it: another policy's mistake must not stand in the
/// way of a restore.
pub fn load(directory: &Path, name: &str) -> Result<Loaded> {
    let name: PolicyName = name.parse()?;
    let path = directory.join(format!("{name}.toml"));
    if !path.exists() {
        return Err(unknown(directory, &name));
    }
    let mut folder = Folder::open(directory);
    let policy = folder.policy(&path, Ok(name.clone()));
    let (warnings, errors): (Vec<_>, Vec<_>) = folder.problems().into_iter().partition(|p| p.severity == Severity::Warning);
    if let Some(error) = problem::as_error(&errors) {
        return Err(error);
    }
    let policy = policy.ok_or_else(|| Error::internal(format!("policy {name} has no problem and cannot be read")))?;
    Ok(Loaded { policy, warnings })
}

/// All policies of a folder, by name; fails with every error of every file.
pub fn load_all(directory: &Path) -> Result<Vec<Policy>> {
    Ok(check(directory)?.into_result()?.policies)
}

/// Reads every file of a folder and reports every problem. Fails only when the folder cannot be read.
pub fn check(directory: &Path) -> Result<Report> {
    let paths = files(directory)?;
    let mut folder = Folder::open(directory);
    let mut policies = Vec::new();
    for path in paths.iter().filter(|p| !p.ends_with(DEFAULTS)) {
        let name = path.file_stem().unwrap_or_default().to_string_lossy().parse();
        policies.extend(folder.policy(path, name));
    }
    let problems = folder.problems();
    // A policy that could be read but breaks a rule is not one that can be used.
    let broken = |path: &Path| {
        let defaults = directory.join(DEFAULTS);
        problems.iter().any(|p| p.severity == Severity::Error && (Path::new(&p.file) == path || Path::new(&p.file) == defaults))
    };
    policies.retain(|p: &Policy| !broken(&p.path));
    Ok(Report { directory: directory.to_owned(), files: paths, policies, problems })
}

/// The files of a folder, by name. Hidden ones, which editors leave behind, are not policies.
fn files(directory: &Path) -> Result<Vec<PathBuf>> {
    let entries = std::fs::read_dir(directory).map_err(|e| {
        Error::not_found(format!("cannot read the folder of policies, {}", directory.display())).source(e).hint(format!(
            "name it with --policies DIR or {DIRECTORY_VARIABLE}; with --store URL no policy is needed to list and restore"
        ))
    })?;
    let mut paths: Vec<PathBuf> = entries
        .filter_map(|entry| entry.ok().map(|e| e.path()))
        .filter(|path| path.extension().is_some_and(|e| e == "toml"))
        .filter(|path| !path.file_name().is_some_and(|n| n.to_string_lossy().starts_with('.')))
        .collect();
    paths.sort();
    Ok(paths)
}

fn unknown(directory: &Path, name: &PolicyName) -> Error {
    let paths = match files(directory) {
        Ok(paths) => paths,
        Err(error) => return error,
    };
    let known: Vec<String> = paths
        .iter()
        .filter(|p| !p.ends_with(DEFAULTS))
        .filter_map(|p| p.file_stem().map(|s| s.to_string_lossy().into_owned()))
        .collect();
    let hint = match nearest(name.as_str(), known.iter().map(String::as_str)) {
        Some(near) => format!("did you mean '{near}'?"),
        None if known.is_empty() => "the folder holds no policy".to_owned(),
        None => format!("known: {}", known.join(", ")),
    };
    Error::not_found(format!("there is no policy '{name}' in {}", directory.display())).hint(hint)
}

/// The sheets read so far and the shared sections.
struct Folder {
    defaults: Option<(Sheet, Parts)>,
    problems: Vec<Problem>,
}

impl Folder {
    fn open(directory: &Path) -> Self {
        let path = directory.join(DEFAULTS);
        let mut this = Self { defaults: None, problems: Vec::new() };
        if path.exists()
            && let Some(mut sheet) = this.read(&path)
        {
            if sheet.sections.description.is_some() {
                let problem =
                    sheet.report(Severity::Error, "description", "not-shared", "describes one policy and cannot be shared");
                problem.help = Some("defaults.toml holds sections only".to_owned());
            }
            let parts = validate::parts(&mut sheet);
            this.defaults = Some((sheet, parts));
        }
        this
    }

    fn read(&mut self, path: &Path) -> Option<Sheet> {
        match std::fs::read(path).map(String::from_utf8) {
            Ok(Ok(text)) => Some(Sheet::parse(path, text)),
            Ok(Err(_)) => {
                self.problems.push(whole_file(path, "not-utf8", "is not UTF-8 text"));
                None
            }
            Err(error) => {
                self.problems.push(whole_file(path, "unreadable", format!("cannot be read: {error}")));
                None
            }
        }
    }

    fn policy(&mut self, path: &Path, name: Result<PolicyName>) -> Option<Policy> {
        let mut sheet = self.read(path)?;
        let parts = validate::parts(&mut sheet);
        let name = match name {
            Ok(name) => Some(name),
            Err(error) => {
                sheet.report_error("", "file-name", &error);
                None
            }
        };
        // The rules between sections are checked for a file of any name.
        let stand_in = name.clone().or_else(|| "unnamed".parse().ok())?;
        let shared = self.defaults.as_mut().map(|(sheet, parts)| Part { sheet, parts });
        let policy = validate::assemble(stand_in, Part { sheet: &mut sheet, parts: &parts }, shared);
        self.problems.append(&mut sheet.problems);
        policy.filter(|_| name.is_some())
    }

    /// Every problem once, by file and line.
    fn problems(&mut self) -> Vec<Problem> {
        if let Some((sheet, _)) = &mut self.defaults {
            self.problems.append(&mut sheet.problems);
        }
        let unique: BTreeSet<Problem> = std::mem::take(&mut self.problems).into_iter().collect();
        unique.into_iter().collect()
    }
}

fn whole_file(path: &Path, rule: &'static str, message: impl Into<String>) -> Problem {
    Problem {
        file: path.display().to_string(),
        line: 1,
        column: 1,
        key: String::new(),
        severity: Severity::Error,
        rule,
        message: message.into(),
        help: None,
        nearest: None,
        allowed: Vec::new(),
    }
}
