variable "name" {
  type        = string
  default     = "regcred"
  description = "What the names of the queues begin with."

  validation {
    condition     = can(regex("^[a-zA-Z0-9_-]{1,32}$", var.name))
    error_message = "Letters, digits, hyphens and underscores, at most 32 of them."
  }
}

variable "secret_name_prefix" {
  type        = string
  description = "How the names of the secrets begin that regcred reads, such as ci/. No other secret is told of or read."

  validation {
    condition     = var.secret_name_prefix != ""
    error_message = "An empty prefix would be that of every secret."
  }
}

variable "secrets_key_arn" {
  type        = string
  default     = ""
  description = "The KMS key of the secrets, where it is your own. Empty for aws/secretsmanager."
}

variable "queue_key_arn" {
  type        = string
  default     = ""
  description = "A KMS key of your own for the queues. Its policy has to let events.amazonaws.com use kms:Decrypt and kms:GenerateDataKey, or no event arrives. Empty for the encryption by SQS itself."
}

variable "cloud_trail_events" {
  type        = bool
  default     = false
  description = "Send what CloudTrail tells of the same changes, too. It comes minutes later and needs a trail."
}

variable "batch_reads" {
  type        = bool
  default     = true
  description = "Let regcred read twenty secrets by one request. Without it they are read one by one."
}

variable "alarm_topic_arn" {
  type        = string
  default     = ""
  description = "An SNS topic that is told when a message could not be handled. Empty for no alarm."
}

variable "trust" {
  type        = string
  default     = "PodIdentity"
  description = "How the pods take on the role: PodIdentity or Irsa. None makes no role, only the policy for one of yours."

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
  description = "Where regcred runs."
}

variable "service_account" {
  type        = string
  default     = "regcred"
  description = "The ServiceAccount regcred runs as."
}
