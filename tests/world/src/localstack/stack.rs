//! `CloudFormation` stacks.

use std::collections::BTreeMap;

use anyhow::{Context as _, bail};
use serde_json::Value;

use super::LocalStack;
use crate::process::wait_until;

impl LocalStack {
    /// Creates a stack from a template and parameters, waits until it is complete, and returns its outputs.
    pub async fn create_stack(
        &self,
        name: &str,
        template: &str,
        parameters: &[(&str, &str)],
    ) -> anyhow::Result<BTreeMap<String, String>> {
        let mut form = vec![
            ("StackName".to_owned(), name),
            ("TemplateBody".to_owned(), template),
            ("Capabilities.member.1".to_owned(), "CAPABILITY_IAM"),
        ];
        for (number, (key, value)) in (1..).zip(parameters) {
            form.push((format!("Parameters.member.{number}.ParameterKey"), key));
            form.push((format!("Parameters.member.{number}.ParameterValue"), value));
        }
        self.cloudformation("CreateStack", &form).await?;
        wait_until("a complete stack", || async {
            let stack = self.stack(name).await?;
            match stack["StackStatus"].as_str().unwrap_or_default() {
                "CREATE_COMPLETE" => Ok(Some(outputs(&stack)?)),
                "CREATE_IN_PROGRESS" => Ok(None),
                other => bail!("stack {name} is {other}: {}", stack["StackStatusReason"]),
            }
        })
        .await
    }

    async fn stack(&self, name: &str) -> anyhow::Result<Value> {
        let answer = self.cloudformation("DescribeStacks", &[("StackName".to_owned(), name)]).await?;
        let stacks = members(&answer["DescribeStacksResponse"]["DescribeStacksResult"]["Stacks"]);
        Ok(stacks.first().with_context(|| format!("stack {name} does not exist"))?.clone())
    }

    async fn cloudformation(&self, action: &str, form: &[(String, &str)]) -> anyhow::Result<Value> {
        self.query_request("cloudformation", "2010-05-15", action, form).await
    }
}

fn outputs(stack: &Value) -> anyhow::Result<BTreeMap<String, String>> {
    let outputs = members(&stack["Outputs"]);
    outputs.iter().map(|output| Ok((text(output, "OutputKey")?, text(output, "OutputValue")?))).collect()
}

fn text(output: &Value, field: &str) -> anyhow::Result<String> {
    output[field].as_str().map(str::to_owned).with_context(|| format!("an output has no {field}"))
}

/// Returns the members of a list; a list of one member is not an array in the response.
fn members(list: &Value) -> &[Value] {
    match &list["member"] {
        Value::Array(members) => members,
        Value::Null => &[],
        member => std::slice::from_ref(member),
    }
}
