//! Secrets that AWS keeps: Secrets Manager and Parameter Store. Nothing is cached, and errors never show a value.

use super::aws::{self, Repeat};
use crate::base::secret::Secret;
use crate::base::{Error, Result};

/// The secret `id` (name or ARN), or the value of one `key` where it is a JSON object. `region`: `None` is the AWS environment's.
/// Fails as `Denied` when there is no such secret or key or it may not be read.
pub async fn secret(region: Option<&str>, id: &str, key: Option<&str>) -> Result<Secret<String>> {
    let client = aws_sdk_secretsmanager::Client::new(&aws::config(region, Repeat::Freely).await?);
    let what = format!("read secret '{id}'");
    let answer = client.get_secret_value().secret_id(id).send().await.map_err(|e| {
        let error = aws::failure(&what, "secretsmanager:GetSecretValue", e);
        match aws::code(&error) {
            Some("ResourceNotFoundException") => Error::denied(format!("{what}: Secrets Manager has no such secret here"))
                .hint("compare name, account and region: aws-secretsmanager:REGION:NAME names another region"),
            Some("InvalidRequestException") => {
                error.hint("a secret that is marked for deletion can be brought back with `aws secretsmanager restore-secret`")
            }
            Some("DecryptionFailure") => {
                error.hint("the secret's KMS key must be enabled, and the role allowed kms:Decrypt on it")
            }
            _ => error,
        }
    })?;
    let text = answer.secret_string.map(Secret::new).ok_or_else(|| {
        Error::unsupported(format!("secret '{id}' is binary")).hint("store it as text, or as a JSON object with keys")
    })?;
    match key {
        None => Ok(text),
        Some(key) => of_key(id, text.expose(), key),
    }
}

/// The parameter `name` (path or ARN, maybe with `:VERSION` or `:LABEL`), decrypted. `region`: `None` is the AWS environment's.
/// Fails as `Denied` when there is no such parameter or it may not be read.
pub async fn parameter(region: Option<&str>, name: &str) -> Result<Secret<String>> {
    let client = aws_sdk_ssm::Client::new(&aws::config(region, Repeat::Freely).await?);
    let what = format!("read parameter '{name}'");
    let answer = client.get_parameter().name(name).with_decryption(true).send().await.map_err(|e| {
        let error = aws::failure(&what, "ssm:GetParameter", e);
        match aws::code(&error) {
            Some("ParameterNotFound") => Error::denied(format!("{what}: Parameter Store has no such parameter here"))
                .hint("compare path, account and region: aws-ssm:REGION:/path names another region"),
            Some("ParameterVersionNotFound") => error.hint("`aws ssm get-parameter-history` shows its versions and labels"),
            Some("InvalidKeyId") => error.hint("the parameter's KMS key must be enabled, and the role allowed kms:Decrypt on it"),
            _ => error,
        }
    })?;
    let value = answer.parameter.and_then(|p| p.value).map(Secret::new);
    value.ok_or_else(|| Error::denied(format!("parameter '{name}' has no value")))
}

/// The text under `key` of a JSON object. What stands beside it is never shown, nor are the names of other keys.
fn of_key(id: &str, json: &str, key: &str) -> Result<Secret<String>> {
    // The parser's error may quote what it stumbled over.
    let object: serde_json::Map<String, serde_json::Value> = serde_json::from_str(json).map_err(|_| {
        Error::denied(format!("secret '{id}' is no JSON object, so it has no key '{key}'"))
            .hint("leave #KEY out to use the secret as a whole")
    })?;
    match object.get(key) {
        Some(serde_json::Value::String(text)) => Ok(Secret::new(text.clone())),
        Some(serde_json::Value::Number(number)) => Ok(Secret::new(number.to_string())),
        Some(_) => Err(Error::denied(format!("key '{key}' of secret '{id}' is neither text nor a number"))),
        None => Err(Error::denied(format!("secret '{id}' has no key '{key}'"))
            .hint("`aws secretsmanager get-secret-value` shows its keys; they are case-sensitive")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_found_and_nothing_else_shown() {
        let json = r#"{"password":"hunter2","port":5432,"more":{"x":"hunter3"}}"#;
        assert_eq!(of_key("s", json, "password").expect("text").expose(), "hunter2");
        assert_eq!(of_key("s", json, "port").expect("number").expose(), "5432");
        for (json, key) in [(json, "nope"), (json, "more"), ("hunter2", "password"), ("[\"hunter2\"]", "0"), ("{hunter2", "x")] {
            let error = of_key("s", json, key).expect_err(key);
            assert_eq!(error.kind().exit_code(), 4);
            assert!(!format!("{error:?}").contains("hunter"), "{error:?}");
        }
    }
}
