output "queue_url" {
  description = "For triggers.sqs of the Config."
  value       = aws_sqs_queue.queue.url
}

output "dead_letter_queue_url" {
  description = "The queue with the messages that could not be handled."
  value       = aws_sqs_queue.dead_letter_queue.url
}

output "policy_arn" {
  description = "The rights of regcred, for a role of your own."
  value       = aws_iam_policy.regcred.arn
}

output "role_arn" {
  description = "For the ServiceAccount or the Pod Identity association."
  value       = one(aws_iam_role.regcred[*].arn)
}
