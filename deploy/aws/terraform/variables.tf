variable "name" {
  type        = string
  default     = "regcred"
  description = "The prefix of the names of the queues."

  validation {
    condition     = can(regex("^[a-zA-Z0-9_-]{1,32}$", var.name))
    error_message = "Letters, digits, hyphens and underscores, at most 32 of them."
  }
}

variable "secret_name_prefix" {
  type        = string
  description = "The prefix of the names of the secrets that regcred reads, such as ci/. No other secret is read, and no event about another one is sent."

  validation {
    condition     = var.secret_name_prefix != ""
    error_message = "An empty prefix would be that of every secret."
  }
}

variable "secrets_key_arn" {
  type        = string
  default     = ""
  description = "The KMS key of the secrets, if it is your own. Empty for aws/secretsmanager."
}

variable "queue_key_arn" {
  type        = string
  default     = ""
  description = "A KMS key of your own for the queues. Its policy must let events.amazonaws.com use kms:Decrypt and kms:GenerateDataKey, or no event arrives. Empty for the encryption by SQS itself."
}

variable "cloud_trail_events" {
  type        = bool
  default     = false
  description = "Send the events of CloudTrail about the same changes, too. They arrive minutes later and need a trail."
}

variable "batch_reads" {
  type        = bool
  default     = true
  description = "Let regcred read up to twenty secrets in one request. Without it they are read one by one."
}

variable "ecr_repository_prefix" {
  type        = string
  default     = ""
  description = "The prefix of the names of the ECR repositories that pods pull from with the tokens of regcred, such as team/, or * for all. Empty for no rights to ECR."
}

variable "assumed_role_arn" {
  type        = string
  default     = ""
  description = "A role that a store assumes by its roleArn, such as one of another account. Empty for none."
}

variable "alarm_topic_arn" {
  type        = string
  default     = ""
  description = "An SNS topic that is notified when a message could not be handled. Empty for no alarm."
}

variable "trust" {
  type        = string
  default     = "PodIdentity"
  description = "How the pods assume the role: PodIdentity or Irsa. None creates no role, only the policy for a role of your own."

  validation {
    condition     = contains(["PodIdentity", "Irsa", "None"], var.trust)
    error_message = "PodIdentity, Irsa or None."
  }
}

variable "oidc_provider" {
  type        = string
  default     = ""
  description = "For Irsa, the issuer of the cluster's tokens without https://, such as oidc.eks.eu-west-1.amazonaws.com/id/0123."

  validation {
    condition     = !strcontains(var.oidc_provider, ":")
    error_message = "The issuer without https://."
  }
}

variable "namespace" {
  type        = string
  default     = "regcred-system"
  description = "The namespace of regcred."
}

variable "service_account" {
  type        = string
  default     = "regcred"
  description = "The ServiceAccount of regcred."
}
