//! `[source]`.

use std::collections::BTreeSet;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::time::Duration;

use super::super::file::{EbsSection, FreezeSection, LockSection, PostgresSection, QuiesceSection, RdsSection, SourceSection};
use super::super::model::{
    Databases, EbsSource, Freeze, HookCommand, LockMode, PostgresSource, Quiesce, QuiesceOn, RdsSource, RdsTarget, SnapshotLock,
    Source, TableName, Volumes,
};
use super::super::parse::Sheet;
use super::super::problem::Severity;
use super::super::urls;
use super::hooks::command;
use super::{address, duration, template};

/// Longest freeze when the policy does not say.
const QUIESCE_TIMEOUT: Duration = Duration::from_secs(30);
/// Longest freeze that is taken for meant.
const QUIESCE_LONGEST: Duration = Duration::from_secs(600);

pub(super) fn source(sheet: &mut Sheet) -> Option<Source> {
    match sheet.sections.source.clone()? {
        SourceSection::Postgres(section) => postgres(sheet, &section).map(Source::Postgres),
        SourceSection::Ebs(section) => ebs(sheet, section).map(Source::Ebs),
        SourceSection::Rds(section) => rds(sheet, section).map(Source::Rds),
    }
}

fn postgres(sheet: &mut Sheet, section: &PostgresSection) -> Option<PostgresSource> {
    let url = section.url.as_deref().and_then(|text| template(sheet, "source.url", text, true));
    if let Some(url) = &url {
        address(sheet, "source.url", url, urls::postgres);
    }
    let databases = databases(sheet, section.databases.as_deref());
    let exclude_table_data = tables(sheet, section.exclude_table_data.as_deref().unwrap_or_default());
    Some(PostgresSource {
        url: url?,
        databases,
        jobs: section.jobs.and_then(|n| NonZeroUsize::new(n as usize)),
        exclude_table_data,
        allow_unmodeled: section.allow_unmodeled.unwrap_or(false),
    })
}

fn databases(sheet: &mut Sheet, names: Option<&[String]>) -> Databases {
    let Some(names) = names else { return Databases::OfUrl };
    if names.is_empty() {
        sheet.report(Severity::Error, "source.databases", "empty-list", "names no database").help =
            Some("leave the key out for the database that the URL names, or write [\"*\"] for all".to_owned());
    }
    let all = names.iter().any(|n| n == "*");
    if all && names.len() > 1 {
        sheet.report(Severity::Error, "source.databases", "all-and-some", "\"*\" stands beside names").help =
            Some("\"*\" means all databases; write it alone".to_owned());
    }
    distinct(sheet, "source.databases", names);
    if all { Databases::All } else { Databases::Named(names.to_vec()) }
}

/// Reports empty strings and repetitions in a list.
fn distinct(sheet: &mut Sheet, key: &str, items: &[String]) {
    let mut seen = BTreeSet::new();
    for (i, item) in items.iter().enumerate() {
        let key = format!("{key}[{i}]");
        if item.trim().is_empty() {
            sheet.report(Severity::Error, &key, "empty-value", "is empty");
        } else if !seen.insert(item) {
            sheet.report(Severity::Error, &key, "repeated-value", format!("'{item}' stands twice"));
        }
    }
}

fn tables(sheet: &mut Sheet, names: &[String]) -> Vec<TableName> {
    distinct(sheet, "source.exclude_table_data", names);
    let mut out = Vec::new();
    for (i, name) in names.iter().enumerate() {
        match name.parse() {
            Ok(table) => out.push(table),
            Err(error) => sheet.report_error(&format!("source.exclude_table_data[{i}]"), "table-name", &error),
        }
    }
    out
}

fn ebs(sheet: &mut Sheet, section: EbsSection) -> Option<EbsSource> {
    let copy_to = copies(sheet, section.region.as_deref(), section.copy_to.unwrap_or_default());
    let exclude_root = section.exclude_root.unwrap_or(false);
    if section.exclude_root.is_some() && section.instance_id.is_none() {
        sheet.report(Severity::Error, "source.exclude_root", "needs-key", "means something only with instance_id");
    }
    let devices = section.devices.clone().unwrap_or_default();
    if section.devices.is_some() {
        if section.instance_id.is_none() {
            sheet.report(Severity::Error, "source.devices", "needs-key", "means something only with instance_id");
        }
        distinct(sheet, "source.devices", &devices);
        if let Some(i) = devices.iter().position(|d| !d.starts_with("/dev/") && !d.starts_with("xvd")) {
            sheet.report(Severity::Error, &format!("source.devices[{i}]"), "device", "is no device as EC2 names them").help =
                Some("`aws ec2 describe-volumes` shows them: /dev/sdf, /dev/xvda".to_owned());
        }
    }
    let copy_kms_keys = section.copy_kms_keys.clone().unwrap_or_default();
    for region in copy_kms_keys.keys().filter(|region| !copy_to.contains(region)) {
        sheet.report(Severity::Error, &format!("source.copy_kms_keys.{region}"), "needs-key", "is not a region of copy_to");
    }
    let (lock, quiesce) = (lock(sheet, section.lock.as_ref()), quiesce(sheet, section.quiesce.as_ref()));
    if let Some(id) = &section.instance_id {
        aws_id(sheet, "source.instance_id", id, "i-");
    }
    if let Some(ids) = &section.volume_ids {
        distinct(sheet, "source.volume_ids", ids);
        for (i, id) in ids.iter().enumerate() {
            aws_id(sheet, &format!("source.volume_ids[{i}]"), id, "vol-");
        }
    }
    for (key, empty) in [
        ("source.devices", section.devices.as_ref().is_some_and(Vec::is_empty)),
        ("source.volume_ids", section.volume_ids.as_ref().is_some_and(Vec::is_empty)),
        ("source.tags", section.tags.as_ref().is_some_and(std::collections::BTreeMap::is_empty)),
    ] {
        if empty {
            sheet.report(Severity::Error, key, "empty-list", "chooses no volume");
        }
    }
    if section.of_data_directory.as_ref().is_some_and(|d| !d.starts_with('/')) {
        sheet.report(Severity::Error, "source.of_data_directory", "path", "must be an absolute path");
    }
    let choices = [
        section.instance_id.map(|id| Volumes::OfInstance { id, exclude_root, devices }),
        section.volume_ids.map(Volumes::Ids),
        section.tags.map(|tags| Volumes::Tagged(tags.into_iter().collect())),
        section.of_data_directory.map(|path| Volumes::OfDataDirectory(PathBuf::from(path))),
    ];
    let volumes = exactly_one(sheet, choices, &["instance_id", "volume_ids", "tags", "of_data_directory"]);
    Some(EbsSource {
        region: section.region?,
        volumes: volumes?,
        copy_to,
        copy_kms_keys,
        lock,
        archive: section.archive.unwrap_or(false),
        quiesce,
    })
}

fn lock(sheet: &mut Sheet, section: Option<&LockSection>) -> Option<SnapshotLock> {
    let section = section?;
    if section.cool_off_hours.is_some() && section.mode == Some(LockMode::Governance) {
        let problem =
            sheet.report(Severity::Error, "source.lock.cool_off_hours", "needs-key", "means something only with compliance");
        problem.help = Some("a governance lock can be undone at any time by who may".to_owned());
    }
    Some(SnapshotLock { mode: section.mode?, days: section.days?, cool_off_hours: section.cool_off_hours })
}

fn quiesce(sheet: &mut Sheet, section: Option<&QuiesceSection>) -> Option<Quiesce> {
    let section = section?;
    let timeout = duration(sheet, "source.quiesce.timeout", section.timeout.as_deref()).unwrap_or(QUIESCE_TIMEOUT);
    if timeout < Duration::from_secs(1) || timeout > QUIESCE_LONGEST {
        sheet.report(Severity::Error, "source.quiesce.timeout", "duration", "must be between a second and ten minutes").help =
            Some("an application at rest is an application that stands still".to_owned());
    }
    let on = section.on.unwrap_or(QuiesceOn::Local);
    let freeze = freeze(sheet, on, section.freeze.clone()?);
    let thaw = section.thaw.clone().and_then(|c| command(sheet, "source.quiesce.thaw", c));
    Some(Quiesce { freeze: freeze?, thaw, on, timeout })
}

fn freeze(sheet: &mut Sheet, on: QuiesceOn, section: FreezeSection) -> Option<Freeze> {
    let key = "source.quiesce.freeze";
    match section {
        FreezeSection::Shell(text) => command(sheet, key, HookCommand::Shell(text)).map(Freeze::Command),
        FreezeSection::Program(words) => command(sheet, key, HookCommand::Program(words)).map(Freeze::Command),
        FreezeSection::Document(document) => {
            if document.document.trim().is_empty() {
                let problem = sheet.report(Severity::Error, &format!("{key}.document"), "empty", "names no document");
                problem.help = Some("`aws ssm list-documents --filters Key=DocumentType,Values=Command` shows them".to_owned());
                return None;
            }
            if on == QuiesceOn::Local {
                let problem = sheet.report(Severity::Error, key, "needs-key", "a document runs on an instance only");
                problem.help = Some("add on = \"instance\", or give a command".to_owned());
            }
            Some(Freeze::Document(document))
        }
    }
}

fn rds(sheet: &mut Sheet, section: RdsSection) -> Option<RdsSource> {
    let copy_to = copies(sheet, section.region.as_deref(), section.copy_to.unwrap_or_default());
    for (key, name) in [("source.instance", &section.instance), ("source.cluster", &section.cluster)] {
        if let Some(name) = name {
            identifier(sheet, key, name);
        }
    }
    let choices = [section.instance.map(RdsTarget::Instance), section.cluster.map(RdsTarget::Cluster)];
    let target = exactly_one(sheet, choices, &["instance", "cluster"]);
    let copy_kms_keys = section.copy_kms_keys.unwrap_or_default();
    for region in copy_kms_keys.keys().filter(|region| !copy_to.contains(region)) {
        sheet.report(Severity::Error, &format!("source.copy_kms_keys.{region}"), "needs-key", "is not a region of copy_to");
    }
    Some(RdsSource { region: section.region?, target: target?, copy_to, copy_kms_keys })
}

fn exactly_one<T, const N: usize>(sheet: &mut Sheet, choices: [Option<T>; N], keys: &[&str]) -> Option<T> {
    let mut given: Vec<T> = choices.into_iter().flatten().collect();
    match given.len() {
        1 => given.pop(),
        n => {
            let message =
                format!("needs exactly one of {}; {}", keys.join(", "), if n == 0 { "none is there" } else { "several are" });
            sheet.report(Severity::Error, "source", "exactly-one", message);
            None
        }
    }
}

/// Region and copies.
fn copies(sheet: &mut Sheet, region: Option<&str>, copy_to: Vec<String>) -> Vec<String> {
    if let Some(region) = region {
        aws_region(sheet, "source.region", region);
    }
    distinct(sheet, "source.copy_to", &copy_to);
    for (i, copy) in copy_to.iter().enumerate() {
        let key = format!("source.copy_to[{i}]");
        if Some(copy.as_str()) == region {
            sheet.report(Severity::Error, &key, "same-region", "is the region of the original; a copy belongs elsewhere");
        } else {
            aws_region(sheet, &key, copy);
        }
    }
    copy_to
}

/// Reports what cannot be the name of a region. Whether it exists only AWS knows.
pub(super) fn aws_region(sheet: &mut Sheet, key: &str, region: &str) {
    let parts: Vec<&str> = region.split('-').collect();
    let good = parts.len() >= 3
        && parts.iter().all(|p| !p.is_empty())
        && parts[..parts.len() - 1].iter().all(|p| p.bytes().all(|b| b.is_ascii_lowercase()))
        && parts[parts.len() - 1].bytes().all(|b| b.is_ascii_digit());
    if !good {
        sheet.report(Severity::Error, key, "region", format!("'{region}' cannot be an AWS region")).help =
            Some("regions look like eu-west-3; an availability zone such as eu-west-3a is not one".to_owned());
    }
}

fn aws_id(sheet: &mut Sheet, key: &str, id: &str, prefix: &str) {
    let good =
        id.strip_prefix(prefix).is_some_and(|hex| (8..=17).contains(&hex.len()) && hex.bytes().all(|b| b.is_ascii_hexdigit()));
    if !good {
        sheet.report(Severity::Error, key, "aws-id", format!("'{id}' is not an id of the form {prefix}0123456789abcdef0"));
    }
}

fn identifier(sheet: &mut Sheet, key: &str, name: &str) {
    let good = (1..=63).contains(&name.len())
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        && !name.ends_with('-')
        && !name.contains("--");
    if !good {
        sheet.report(Severity::Error, key, "aws-id", format!("'{name}' cannot be an RDS identifier")).help =
            Some("at most 63 letters, digits and single '-', beginning with a letter".to_owned());
    }
}
