# The rights of regcred, and its role.

data "aws_iam_policy_document" "regcred" {
  # The value, and for the poll its version without the value.
  statement {
    sid       = "Secrets"
    actions   = ["secretsmanager:GetSecretValue", "secretsmanager:DescribeSecret"]
    resources = ["${local.secrets_arn}*"]
  }

  # Not restricted by resource; each secret it reads needs GetSecretValue as well.
  dynamic "statement" {
    for_each = var.batch_reads ? [true] : []
    content {
      sid       = "Batches"
      actions   = ["secretsmanager:BatchGetSecretValue"]
      resources = ["*"]
    }
  }

  # For Secrets Manager alone, and for these secrets.
  dynamic "statement" {
    for_each = var.secrets_key_arn == "" ? [] : [true]
    content {
      sid       = "SecretsKey"
      actions   = ["kms:Decrypt"]
      resources = [var.secrets_key_arn]

      condition {
        test     = "StringEquals"
        variable = "kms:ViaService"
        values   = ["secretsmanager.${data.aws_region.current.region}.amazonaws.com"]
      }

      condition {
        test     = "StringLike"
        variable = "kms:EncryptionContext:SecretARN"
        values   = ["${local.secrets_arn}*"]
      }
    }
  }

  # A token of ECR. The action has no resources: the token is valid where the statement EcrPulls is.
  dynamic "statement" {
    for_each = var.ecr_repository_prefix == "" ? [] : [true]
    content {
      sid       = "EcrToken"
      actions   = ["ecr:GetAuthorizationToken"]
      resources = ["*"]
    }
  }

  # The pulls of the pods: a token has the rights of the one that requested it.
  dynamic "statement" {
    for_each = var.ecr_repository_prefix == "" ? [] : [true]
    content {
      sid       = "EcrPulls"
      actions   = ["ecr:BatchCheckLayerAvailability", "ecr:BatchGetImage", "ecr:GetDownloadUrlForLayer"]
      resources = ["arn:${data.aws_partition.current.partition}:ecr:${data.aws_region.current.region}:${data.aws_caller_identity.current.account_id}:repository/${var.ecr_repository_prefix}*"]
    }
  }

  dynamic "statement" {
    for_each = var.assumed_role_arn == "" ? [] : [true]
    content {
      sid       = "AssumedRole"
      actions   = ["sts:AssumeRole"]
      resources = [var.assumed_role_arn]
    }
  }

  # A message is received, kept in flight while its reconciliation runs, and deleted.
  statement {
    sid       = "Queue"
    actions   = ["sqs:ReceiveMessage", "sqs:ChangeMessageVisibility", "sqs:DeleteMessage"]
    resources = [aws_sqs_queue.queue.arn]
  }

  # For SQS alone.
  dynamic "statement" {
    for_each = var.queue_key_arn == "" ? [] : [true]
    content {
      sid       = "QueueKey"
      actions   = ["kms:Decrypt"]
      resources = [var.queue_key_arn]

      condition {
        test     = "StringEquals"
        variable = "kms:ViaService"
        values   = ["sqs.${data.aws_region.current.region}.amazonaws.com"]
      }
    }
  }
}

resource "aws_iam_policy" "regcred" {
  name_prefix = "${var.name}-"
  description = "The rights of regcred on secrets and on the queue with their events."
  policy      = data.aws_iam_policy_document.regcred.json
}

# The pods of one ServiceAccount.
data "aws_iam_policy_document" "pod_identity" {
  statement {
    sid     = "PodIdentity"
    actions = ["sts:AssumeRole", "sts:TagSession"]

    principals {
      type        = "Service"
      identifiers = ["pods.eks.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/kubernetes-namespace"
      values   = [var.namespace]
    }

    condition {
      test     = "StringEquals"
      variable = "aws:RequestTag/kubernetes-service-account"
      values   = [var.service_account]
    }
  }
}

data "aws_iam_policy_document" "irsa" {
  statement {
    sid     = "Irsa"
    actions = ["sts:AssumeRoleWithWebIdentity"]

    principals {
      type        = "Federated"
      identifiers = ["arn:${data.aws_partition.current.partition}:iam::${data.aws_caller_identity.current.account_id}:oidc-provider/${var.oidc_provider}"]
    }

    condition {
      test     = "StringEquals"
      variable = "${var.oidc_provider}:aud"
      values   = ["sts.amazonaws.com"]
    }

    condition {
      test     = "StringEquals"
      variable = "${var.oidc_provider}:sub"
      values   = ["system:serviceaccount:${var.namespace}:${var.service_account}"]
    }
  }
}

resource "aws_iam_role" "regcred" {
  count = var.trust == "None" ? 0 : 1

  name_prefix        = "${var.name}-"
  description        = "The role of regcred in a cluster."
  assume_role_policy = var.trust == "Irsa" ? data.aws_iam_policy_document.irsa.json : data.aws_iam_policy_document.pod_identity.json

  lifecycle {
    precondition {
      condition     = var.trust != "Irsa" || var.oidc_provider != ""
      error_message = "trust is Irsa, which needs oidc_provider."
    }
  }
}

resource "aws_iam_role_policy_attachment" "regcred" {
  count = var.trust == "None" ? 0 : 1

  role       = aws_iam_role.regcred[0].name
  policy_arn = aws_iam_policy.regcred.arn
}
