# Events about changes in AWS Secrets Manager for regcred: an EventBridge rule, its SQS queue, and the rights of
# regcred. The same as ../events.yaml.

data "aws_partition" "current" {}
data "aws_region" "current" {}
data "aws_caller_identity" "current" {}

locals {
  secrets_arn = "arn:${data.aws_partition.current.partition}:secretsmanager:${data.aws_region.current.region}:${data.aws_caller_identity.current.account_id}:secret:${var.secret_name_prefix}"

  # The event of Secrets Manager itself when a value becomes current, by a rotation or by hand. AWSPENDING and
  # other labels do not matter to a reader.
  label_updated = {
    source        = ["aws.secretsmanager"]
    "detail-type" = ["Secret Label Updated"]
    detail = {
      name         = [{ prefix = var.secret_name_prefix }]
      labelUpdated = ["AWSCURRENT"]
    }
  }

  # The same from CloudTrail: the end of a rotation that Secrets Manager ran.
  rotation_succeeded = {
    source        = ["aws.secretsmanager"]
    "detail-type" = ["AWS Service Event via CloudTrail"]
    detail = {
      eventName           = ["RotationSucceeded"]
      additionalEventData = { SecretId = [{ prefix = local.secrets_arn }] }
    }
  }

  # The same from CloudTrail: calls of people and programs, with the name or the ARN that they used.
  secret_changed = {
    source        = ["aws.secretsmanager"]
    "detail-type" = ["AWS API Call via CloudTrail"]
    detail = {
      eventName         = ["PutSecretValue", "UpdateSecret", "UpdateSecretVersionStage", "RestoreSecret", "DeleteSecret"]
      requestParameters = { secretId = [{ prefix = var.secret_name_prefix }, { prefix = local.secrets_arn }] }
    }
  }
}

resource "aws_cloudwatch_event_rule" "label_updated" {
  name          = "${var.name}-label-updated"
  description   = "A new value of a secret that regcred reads."
  event_pattern = jsonencode(local.label_updated)
}

resource "aws_cloudwatch_event_target" "label_updated" {
  rule      = aws_cloudwatch_event_rule.label_updated.name
  target_id = "queue"
  arn       = aws_sqs_queue.queue.arn
}

resource "aws_cloudwatch_event_rule" "rotation_succeeded" {
  count = var.cloud_trail_events ? 1 : 0

  name          = "${var.name}-rotation-succeeded"
  description   = "The end of a rotation of a secret that regcred reads, from CloudTrail."
  event_pattern = jsonencode(local.rotation_succeeded)
}

resource "aws_cloudwatch_event_target" "rotation_succeeded" {
  count = var.cloud_trail_events ? 1 : 0

  rule      = aws_cloudwatch_event_rule.rotation_succeeded[0].name
  target_id = "queue"
  arn       = aws_sqs_queue.queue.arn
}

resource "aws_cloudwatch_event_rule" "secret_changed" {
  count = var.cloud_trail_events ? 1 : 0

  name          = "${var.name}-secret-changed"
  description   = "A call that changed a secret that regcred reads, from CloudTrail."
  event_pattern = jsonencode(local.secret_changed)
}

resource "aws_cloudwatch_event_target" "secret_changed" {
  count = var.cloud_trail_events ? 1 : 0

  rule      = aws_cloudwatch_event_rule.secret_changed[0].name
  target_id = "queue"
  arn       = aws_sqs_queue.queue.arn
}

resource "aws_sqs_queue" "queue" {
  name = "${var.name}-events"
  # The time after which a message of a process that died is visible again. While a reconciliation runs, regcred
  # keeps extending it.
  visibility_timeout_seconds = 30
  receive_wait_time_seconds  = 20
  # Four days. A start reads every secret anyway.
  message_retention_seconds = 345600
  # Five minutes for an invalid message; an hour and a half for a target that fails, since regcred makes its message
  # visible later each time.
  redrive_policy = jsonencode({
    deadLetterTargetArn = aws_sqs_queue.dead_letter_queue.arn
    maxReceiveCount     = 10
  })
  sqs_managed_sse_enabled = var.queue_key_arn == "" ? true : null
  kms_master_key_id       = var.queue_key_arn == "" ? null : var.queue_key_arn
}

# Messages that could not be handled ten times, kept for inspection.
resource "aws_sqs_queue" "dead_letter_queue" {
  name                      = "${var.name}-events-dead"
  message_retention_seconds = 1209600
  sqs_managed_sse_enabled   = var.queue_key_arn == "" ? true : null
  kms_master_key_id         = var.queue_key_arn == "" ? null : var.queue_key_arn
}

resource "aws_sqs_queue_redrive_allow_policy" "dead_letter_queue" {
  queue_url = aws_sqs_queue.dead_letter_queue.id
  redrive_allow_policy = jsonencode({
    redrivePermission = "byQueue"
    sourceQueueArns   = [aws_sqs_queue.queue.arn]
  })
}

# Only these rules may send.
data "aws_iam_policy_document" "queue" {
  statement {
    sid       = "Send"
    actions   = ["sqs:SendMessage"]
    resources = [aws_sqs_queue.queue.arn]

    principals {
      type        = "Service"
      identifiers = ["events.amazonaws.com"]
    }

    condition {
      test     = "ArnEquals"
      variable = "aws:SourceArn"
      values = concat(
        [aws_cloudwatch_event_rule.label_updated.arn],
        aws_cloudwatch_event_rule.rotation_succeeded[*].arn,
        aws_cloudwatch_event_rule.secret_changed[*].arn,
      )
    }
  }
}

resource "aws_sqs_queue_policy" "queue" {
  queue_url = aws_sqs_queue.queue.id
  policy    = data.aws_iam_policy_document.queue.json
}

resource "aws_cloudwatch_metric_alarm" "dead_letter_alarm" {
  count = var.alarm_topic_arn == "" ? 0 : 1

  alarm_name          = "${var.name}-events-dead"
  alarm_description   = "regcred could not handle a message in ten attempts. kubectl describe clusterpullsecrets names the target that failed, the log the message that is invalid."
  namespace           = "AWS/SQS"
  metric_name         = "ApproximateNumberOfMessagesVisible"
  dimensions          = { QueueName = aws_sqs_queue.dead_letter_queue.name }
  statistic           = "Maximum"
  period              = 300
  evaluation_periods  = 1
  threshold           = 0
  comparison_operator = "GreaterThanThreshold"
  treat_missing_data  = "notBreaching"
  alarm_actions       = [var.alarm_topic_arn]
}
