//! The old settings under a new name, with what the user wants otherwise.

use super::earlier::identifiers;
use crate::base::{Error, Result};
use crate::cloud::rds::settings::{ClusterSettings, InstanceSettings, Settings};
use crate::jobs::snapshot::restore::ToInstance;

/// The settings of what is made; what belongs to another region is left out, and named in `notes`.
pub(super) fn settings(described: Settings, to: &ToInstance, at_home: bool, notes: &mut Vec<String>) -> Result<Settings> {
    let mut left_out = Vec::new();
    let settings = match described {
        Settings::Instance(instance) => {
            let zone = instance.availability_zone.clone().filter(|_| !instance.multi_az);
            let mut s = instance.to_ask();
            s.identifier.clone_from(&to.name);
            adapt_instance(&mut s, to, at_home, &mut left_out, notes);
            if s.multi_az && to.zone.is_some() {
                return Err(Error::usage("an instance with a standby takes no --availability-zone: RDS chooses both"));
            }
            s.availability_zone.clone_from(&to.zone);
            if let Some(zone) = zone.filter(|_| at_home && to.zone.is_none()) {
                notes.push(format!("it was in {zone}; RDS chooses the zone now, unless --availability-zone says it"));
            }
            Settings::Instance(Box::new(s))
        }
        Settings::Cluster(cluster, members) => {
            let mut c = Box::new(cluster.to_ask());
            c.identifier.clone_from(&to.name);
            adapt_cluster(&mut c, to, at_home, &mut left_out);
            if c.is_multi_az() && to.zone.is_some() {
                return Err(Error::usage("a Multi-AZ DB cluster takes no --availability-zone: RDS chooses all three"));
            }
            let mut adapted = Vec::new();
            // A Multi-AZ DB cluster makes its instances itself.
            for (i, member) in members.into_iter().filter(|_| !c.is_multi_az()).enumerate() {
                let mut m = member.to_ask();
                m.identifier = format!("{}-{}", to.name, i + 1);
                m.cluster = Some(to.name.clone());
                adapt_instance(&mut m, &ToInstance { parameter_group: None, ..to.clone() }, at_home, &mut left_out, notes);
                // The others are spread by RDS: in one zone all would fail together.
                m.availability_zone = to.zone.clone().filter(|_| i == 0);
                adapted.push(m);
            }
            Settings::Cluster(c, adapted)
        }
    };
    if !left_out.is_empty() {
        left_out.sort();
        left_out.dedup();
        notes.push(format!("these are of the other region, so that its defaults take their place: {}", left_out.join(", ")));
    }
    notes.dedup();
    identifiers(&settings).into_iter().try_for_each(|(_, name)| check_name(name))?;
    Ok(settings)
}

fn adapt_cluster(c: &mut ClusterSettings, to: &ToInstance, at_home: bool, left_out: &mut Vec<String>) {
    if !at_home {
        let region_bound = [
            ("subnet group", c.subnet_group.take()),
            ("parameter group", c.parameter_group.take()),
            ("monitoring role", c.monitoring_role_arn.take()),
            ("key of Performance Insights", c.performance_insights_kms_key_id.take()),
            ("key of the master password's secret", c.master_user_secret_kms_key_id.take()),
        ];
        left_out.extend(region_bound.into_iter().filter_map(|(what, name)| Some(format!("{what} {}", name?))));
        left_out.extend(c.vpc_security_group_ids.drain(..).map(|id| format!("security group {id}")));
        c.monitoring_interval = None;
    }
    c.subnet_group = to.subnet_group.clone().or(c.subnet_group.take());
    c.parameter_group = to.parameter_group.clone().or(c.parameter_group.take());
    if !to.security_groups.is_empty() {
        c.vpc_security_group_ids.clone_from(&to.security_groups);
    }
    if c.is_multi_az() {
        c.instance_class = to.class.clone().or(c.instance_class.take());
    }
}

fn adapt_instance(s: &mut InstanceSettings, to: &ToInstance, at_home: bool, left_out: &mut Vec<String>, notes: &mut Vec<String>) {
    if !at_home {
        let region_bound = [
            ("subnet group", s.subnet_group.take()),
            ("parameter group", s.parameter_group.take()),
            ("option group", s.option_group_name.take()),
            ("monitoring role", s.monitoring_role_arn.take()),
            ("key of Performance Insights", s.performance_insights_kms_key_id.take()),
            ("key of the master password's secret", s.master_user_secret_kms_key_id.take()),
        ];
        left_out.extend(region_bound.into_iter().filter_map(|(what, name)| Some(format!("{what} {}", name?))));
        left_out.extend(s.vpc_security_group_ids.drain(..).map(|id| format!("security group {id}")));
        s.monitoring_interval = None;
    }
    if let Some(class) = to.class.as_ref().filter(|class| **class != s.class) {
        if !s.processor_features.is_empty() {
            s.use_default_processor_features = true;
            s.processor_features.clear();
            notes.push(format!("cores and threads are those of {class}: the old ones were chosen for {}", s.class));
        }
        s.class.clone_from(class);
    }
    s.subnet_group = to.subnet_group.clone().or(s.subnet_group.take());
    s.parameter_group = to.parameter_group.clone().or(s.parameter_group.take());
    if !to.security_groups.is_empty() {
        s.vpc_security_group_ids.clone_from(&to.security_groups);
    }
}

/// An identifier as RDS takes it: 1 to 63 letters, digits and single hyphens, first a letter.
fn check_name(name: &str) -> Result<()> {
    let good = name.len() <= 63
        && name.starts_with(|c: char| c.is_ascii_alphabetic())
        && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-')
        && !name.ends_with('-')
        && !name.contains("--");
    if good {
        Ok(())
    } else {
        Err(Error::usage(format!("'{name}' cannot be the identifier of an instance"))
            .hint("1 to 63 letters, digits and single hyphens; first a letter, last no hyphen; a cluster's instances get its name and a number"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_class_drops_the_cores_that_were_chosen_for_the_old_one_and_no_zone_is_asked_for_by_itself() {
        let old = InstanceSettings {
            class: "db.r6g.large".to_owned(),
            availability_zone: Some("eu-west-1a".to_owned()),
            processor_features: vec![("coreCount".to_owned(), "1".to_owned())],
            ..InstanceSettings::default()
        };
        let adapted = |to: &ToInstance| {
            let mut notes = Vec::new();
            match settings(Settings::Instance(Box::new(old.clone())), to, true, &mut notes).expect("settings") {
                Settings::Instance(s) => (s, notes.join("; ")),
                Settings::Cluster(..) => panic!("no cluster"),
            }
        };
        let same = ToInstance { name: "new".to_owned(), class: Some("db.r6g.large".to_owned()), ..ToInstance::default() };
        let (s, notes) = adapted(&same);
        assert_eq!((s.processor_features.len(), s.availability_zone.clone()), (1, None));
        assert!(notes.contains("it was in eu-west-1a"), "{notes}");
        let (s, notes) =
            adapted(&ToInstance { class: Some("db.t4g.large".to_owned()), zone: Some("eu-west-1b".to_owned()), ..same });
        assert!(s.processor_features.is_empty() && s.use_default_processor_features && notes.contains("db.t4g.large"), "{notes}");
        assert_eq!(s.availability_zone.as_deref(), Some("eu-west-1b"));
    }

    #[test]
    fn names_of_instances_that_a_cluster_gets_are_checked_too() {
        let cluster = || {
            let cluster = ClusterSettings { engine: "aurora-postgresql".to_owned(), ..ClusterSettings::default() };
            Settings::Cluster(Box::new(cluster), vec![InstanceSettings::default()])
        };
        let named = |length| ToInstance { name: "a".repeat(length), ..ToInstance::default() };
        assert!(settings(cluster(), &named(61), true, &mut Vec::new()).is_ok());
        assert!(settings(cluster(), &named(62), true, &mut Vec::new()).is_err());
    }
}
