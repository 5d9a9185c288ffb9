//! Commands on an EC2 instance, by Run Command of Systems Manager: sent, followed to their end, judged by their exit code.
//!
//! A command goes on when nobody follows it any more. What must be undone in any case belongs into the command itself.

use std::collections::BTreeMap;
use std::time::Duration;

use aws_sdk_ssm::Client;
use aws_sdk_ssm::types::{CommandInvocation, CommandInvocationStatus as Status, CommandPlugin};
use jiff::Timestamp;

use super::aws::{self, Repeat};
use crate::base::clock::{SharedClock, add, elapsed};
use crate::base::{Error, Result};

/// The document that hands lines to `/bin/sh`.
pub const SHELL_SCRIPT: &str = "AWS-RunShellScript";
/// The same for PowerShell.
const POWERSHELL_SCRIPT: &str = "AWS-RunPowerShellScript";
/// Shortest time that AWS takes for a command to reach its instance.
const SHORTEST_DELIVERY: Duration = Duration::from_secs(30);
/// An invocation is not visible at once.
const INVISIBLE: Duration = Duration::from_secs(60);
/// How much longer than its timeout a command is followed: AWS ends it itself, and says so with a delay.
const MARGIN: Duration = Duration::from_secs(30);
/// Tries to send when AWS asks to slow down.
const SEND_TRIES: u32 = 6;
/// Pauses between two looks.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Bytes of each output that are kept, the last ones.
const OUTPUT_BYTES: usize = 4 << 10;

/// What to run.
#[derive(Debug, Clone)]
pub struct Command {
    /// Id of the EC2 instance, or of the managed node.
    pub instance: String,
    /// Name or ARN of the document.
    pub document: String,
    /// Its parameters.
    pub parameters: BTreeMap<String, Vec<String>>,
    /// How long it may run.
    pub timeout: Duration,
    /// What the console shows beside it; at most 100 characters count.
    pub comment: String,
}

impl Command {
    /// Lines for the shell of `instance`.
    pub fn shell(instance: &str, lines: Vec<String>, timeout: Duration) -> Self {
        Self {
            instance: instance.to_owned(),
            document: SHELL_SCRIPT.to_owned(),
            parameters: BTreeMap::from([("commands".to_owned(), lines)]),
            timeout,
            comment: String::new(),
        }
    }
}

/// How a command ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// AWS's id of the command.
    pub command_id: String,
    /// `Success`, or what AWS says in its place: `Failed`, `TimedOut`, `Undeliverable`, …
    pub status: String,
    /// Exit code; `None` where it never ended by itself.
    pub exit_code: Option<i32>,
    /// The end of what its steps wrote, of which AWS keeps 2,500 characters each.
    pub output: String,
}

impl Outcome {
    /// An error of kind `Gate` unless the command succeeded. It does not quote the output, which may hold anything, secrets too.
    pub fn check(&self, instance: &str) -> Result<()> {
        let how = match (self.status.as_str(), self.exit_code) {
            ("Success", Some(0) | None) => return Ok(()),
            (_, Some(code)) if code != 0 => format!("failed with exit code {code}"),
            (status, _) => format!("ended as '{status}'"),
        };
        let hint = format!(
            "`aws ssm list-command-invocations --details --command-id {} --instance-id {instance}` shows its steps",
            self.command_id
        );
        Err(Error::gate(format!("the command on {instance} {how}")).hint(hint))
    }
}

/// Runs `command` in `region` (`None`: the environment's) and waits for its end. `Ok` also where the command itself failed: see
/// [`Outcome::check`]. Fails as `Unavailable` when the end is not known in time; the command was then asked to stop.
pub async fn run(region: Option<&str>, command: &Command, clock: &SharedClock) -> Result<Outcome> {
    // A lost answer may hide a command that was sent: only requests that AWS says it did not take are sent again.
    let sender = Client::new(&aws::config(region, Repeat::Never).await?);
    let id = send(&sender, command, clock).await?;
    let client = Client::new(&aws::config(region, Repeat::Freely).await?);
    let sent_at = clock.now();
    let give_up = add(sent_at, delivery(command) + command.timeout + MARGIN);
    match follow(&client, command, &id, sent_at, give_up, clock).await {
        Ok(outcome) => Ok(outcome),
        Err(error) => {
            let cancelled = client.cancel_command().command_id(&id).instance_ids(&command.instance).send().await;
            if let Err(refused) = cancelled {
                let refused = aws::failure("stop the command", "ssm:CancelCommand", refused);
                tracing::warn!(command = id, error = %refused, "a command on an instance may go on");
            }
            Err(error)
        }
    }
}

/// How long AWS tries to reach the instance.
fn delivery(command: &Command) -> Duration {
    command.timeout.max(SHORTEST_DELIVERY)
}

async fn send(client: &Client, command: &Command, clock: &SharedClock) -> Result<String> {
    let mut parameters = command.parameters.clone();
    if [SHELL_SCRIPT, POWERSHELL_SCRIPT].contains(&command.document.as_str()) {
        let seconds = command.timeout.as_secs().max(1).to_string();
        parameters.entry("executionTimeout".to_owned()).or_insert_with(|| vec![seconds]);
    }
    let what = format!("send a command to {}", command.instance);
    let mut pause = FIRST_PAUSE;
    for last in [false; SEND_TRIES as usize - 1].into_iter().chain([true]) {
        let sent = client
            .send_command()
            .instance_ids(&command.instance)
            .document_name(&command.document)
            .set_parameters(Some(parameters.clone().into_iter().collect()))
            .timeout_seconds(i32::try_from(delivery(command).as_secs()).unwrap_or(i32::MAX))
            .comment(command.comment.chars().take(100).collect::<String>())
            .send()
            .await;
        let error = match sent {
            Ok(sent) => {
                let id = sent.command.and_then(|c| c.command_id);
                return id.ok_or_else(|| Error::internal(format!("{what}: AWS gave no id")));
            }
            Err(error) => explain(aws::failure(&what, "ssm:SendCommand", error)),
        };
        if last || !aws::is_throttled(&error) {
            return Err(error);
        }
        clock.sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
    Err(Error::internal(format!("{what}: no try was made")))
}

fn explain(error: Error) -> Error {
    match aws::code(&error) {
        Some("InvalidInstanceId") => error.hint(
            "Systems Manager does not know the instance: its SSM agent must run, and its role hold AmazonSSMManagedInstanceCore; \
             `aws ssm describe-instance-information` lists those it knows",
        ),
        Some("InvalidDocument" | "InvalidDocumentVersion") => {
            error.hint("`aws ssm list-documents` shows what there is in that region")
        }
        Some("InvalidParameters") => error.hint("`aws ssm describe-document --name …` shows which parameters the document takes"),
        _ => error,
    }
}

async fn follow(
    client: &Client,
    command: &Command,
    id: &str,
    sent_at: Timestamp,
    give_up: Timestamp,
    clock: &SharedClock,
) -> Result<Outcome> {
    let what = format!("follow the command on {}", command.instance);
    let mut pause = FIRST_PAUSE;
    loop {
        clock.sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
        // Of a document with several steps this alone tells how all of it ended.
        let seen = client.list_command_invocations().command_id(id).instance_id(&command.instance).details(true).send().await;
        match seen.map_err(|e| aws::failure(&what, "ssm:ListCommandInvocations", e)) {
            Ok(seen) => match seen.command_invocations().first() {
                Some(seen) => {
                    if let Some(outcome) = ended(id, seen) {
                        return Ok(outcome);
                    }
                }
                None if elapsed(sent_at, clock.now()) < INVISIBLE => {}
                None => return Err(Error::unavailable(format!("{what}: AWS does not know it"))),
            },
            Err(error) if aws::code(&error) == Some("InvalidCommandId") && elapsed(sent_at, clock.now()) < INVISIBLE => {}
            // The command goes on whether or not it can be looked at now.
            Err(error) if error.kind().retryable() && clock.now() < give_up => {
                tracing::debug!(command = id, %error, "looking again");
            }
            Err(error) => return Err(error),
        }
        if clock.now() >= give_up {
            return Err(Error::unavailable(format!("{what}: it did not end in time"))
                .hint("is the instance up, and its SSM agent? A longer timeout may help"));
        }
    }
}

/// `None` while it goes on.
fn ended(id: &str, seen: &CommandInvocation) -> Option<Outcome> {
    let status = seen.status().cloned().unwrap_or(Status::Pending);
    if matches!(status, Status::Pending | Status::InProgress | Status::Delayed | Status::Cancelling) {
        return None;
    }
    let details = seen.status_details().filter(|d| !d.is_empty()).unwrap_or(status.as_str());
    // AWS says -1 where nothing ran to its end. Steps after one that failed are not run.
    let codes: Vec<i32> = seen.command_plugins().iter().map(CommandPlugin::response_code).collect();
    let code = codes.iter().copied().find(|code| *code > 0).or_else(|| codes.iter().copied().rev().find(|code| *code >= 0));
    let outputs: Vec<&str> = seen.command_plugins().iter().filter_map(|p| p.output()).filter(|text| !text.is_empty()).collect();
    Some(Outcome {
        command_id: id.to_owned(),
        status: if status == Status::Success { "Success".to_owned() } else { details.to_owned() },
        exit_code: code,
        output: tail(&outputs.join("\n")),
    })
}

/// The last [`OUTPUT_BYTES`] of a text, from the beginning of a line.
fn tail(text: &str) -> String {
    if text.len() <= OUTPUT_BYTES {
        return text.to_owned();
    }
    let mut at = text.len() - OUTPUT_BYTES;
    while !text.is_char_boundary(at) {
        at += 1;
    }
    // The line of the cut may hold half a secret that no mask would find.
    let rest = text[at..].split_once('\n').map_or("", |(_, rest)| rest);
    format!("…\n{rest}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_is_told_from_going_on_and_failure_from_success() {
        let step = |code: i32| CommandPlugin::builder().response_code(code).output(format!("step {code}")).build();
        let seen = |status: &str, details: &str, code: i32| {
            CommandInvocation::builder().status(Status::from(status)).status_details(details).command_plugins(step(code)).build()
        };
        for status in ["Pending", "InProgress", "Delayed", "Cancelling"] {
            assert_eq!(ended("c", &seen(status, status, -1)), None, "{status}");
        }
        let good = ended("c", &seen("Success", "Success", 0)).expect("ended");
        good.check("i-1").expect("success");
        let failed =
            CommandInvocation::builder().status(Status::Failed).command_plugins(step(0)).command_plugins(step(7)).build();
        let failed = ended("c", &failed).expect("ended");
        assert_eq!(
            (failed.exit_code, &*failed.output),
            (Some(7), "step 0\nstep 7"),
            "of several steps the one that failed counts"
        );
        for (status, details, code, says) in [
            ("Failed", "Failed", 3, "exit code 3"),
            ("TimedOut", "DeliveryTimedOut", -1, "DeliveryTimedOut"),
            ("Failed", "Undeliverable", -1, "Undeliverable"),
            ("Cancelled", "Cancelled", -1, "Cancelled"),
        ] {
            let error = ended("c", &seen(status, details, code)).expect("ended").check("i-1").expect_err(details);
            assert!(error.to_string().contains(says), "{error}");
        }
    }

    #[test]
    fn long_output_keeps_its_last_whole_lines() {
        let long = "first line\n".to_owned() + &"é".repeat(OUTPUT_BYTES) + "\nlast line\n";
        assert_eq!(tail(&long), "…\nlast line\n");
        assert_eq!(tail("short"), "short");
    }
}
