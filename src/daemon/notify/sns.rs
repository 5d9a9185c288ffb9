//! Amazon SNS. Region from the topic's ARN, credentials and endpoint from the SDK's own settings.

use std::time::Duration;

use aws_config::retry::RetryConfig;
use aws_config::timeout::TimeoutConfig;
use aws_config::{BehaviorVersion, Region};
use aws_sdk_sns::Client;
use aws_sdk_sns::error::{DisplayErrorContext, ProvideErrorMetadata as _};
use aws_sdk_sns::operation::publish::PublishError;
use aws_sdk_sns::types::MessageAttributeValue;
use serde_json::json;

use super::message::Message;
use super::webhook::document;
use crate::base::{Error, Result};

/// Longest subject that SNS takes.
const SUBJECT_CHARS: usize = 100;

type SdkError = aws_sdk_sns::error::SdkError<PublishError>;

pub(super) async fn send(topic: &str, message: &Message, timeout: Duration) -> Result<()> {
    let region = topic.split(':').nth(3).unwrap_or_default().to_owned();
    let config = aws_config::defaults(BehaviorVersion::latest())
        .region(Region::new(region))
        .retry_config(RetryConfig::standard().with_max_attempts(2))
        .timeout_config(TimeoutConfig::builder().operation_timeout(timeout).build())
        .load()
        .await;
    let mut request = Client::new(&config)
        .publish()
        .topic_arn(topic)
        .subject(subject(message))
        .message_structure("json")
        .message(by_protocol(message).to_string())
        .message_attributes("policy", attribute(&message.policy)?)
        .message_attributes("event", attribute(&message.notice.event)?);
    if topic.rsplit('.').next() == Some("fifo") {
        request = request.message_group_id(&message.policy).message_deduplication_id(&message.notice.id);
    }
    request.send().await.map(|_| ()).map_err(|e| failed(&e))
}

/// Words for people, the document for programs.
fn by_protocol(message: &Message) -> serde_json::Value {
    let text = format!("{}\n\n{}", message.subject(), message.body());
    let document = document(message).to_string();
    json!({
        "default": text,
        "sms": message.subject(),
        "http": document,
        "https": document,
        "sqs": document,
        "lambda": document,
        "firehose": document,
    })
}

/// SNS takes printable ASCII only.
fn subject(message: &Message) -> String {
    let printable = |c: char| if (' '..='~').contains(&c) { c } else { '?' };
    format!("[pgkeep] {}", message.subject()).chars().map(printable).take(SUBJECT_CHARS).collect()
}

fn attribute(value: &str) -> Result<MessageAttributeValue> {
    MessageAttributeValue::builder()
        .data_type("String")
        .string_value(value)
        .build()
        .map_err(|e| Error::internal("write an attribute of an SNS message").source(e))
}

fn failed(error: &SdkError) -> Error {
    let code = error.code().unwrap_or_default();
    match error {
        SdkError::ServiceError(_) => {
            let message = format!("SNS refused the message: {code}: {}", error.message().unwrap_or_default());
            match code {
                "NotFound" | "NotFoundException" => {
                    Error::denied(message).hint("the topic does not exist in that account and region; compare its ARN")
                }
                "AuthorizationError" | "AccessDenied" | "AccessDeniedException" | "AuthorizationErrorException" => {
                    Error::denied(message).hint("the role that pgkeep runs with needs sns:Publish on the topic (and kms:GenerateDataKey and kms:Decrypt where it is encrypted)")
                }
                "InternalError" | "Throttled" | "ThrottledException" | "Throttling" | "ServiceUnavailable" => Error::unavailable(message),
                _ => Error::denied(message),
            }
        }
        SdkError::ConstructionFailure(_) => Error::denied(format!("SNS: {}", DisplayErrorContext(error)))
            .hint("no usable AWS credentials: set AWS_PROFILE or keys, or give the instance a role"),
        _ => Error::unavailable(format!("SNS did not answer: {}", DisplayErrorContext(error))),
    }
}
