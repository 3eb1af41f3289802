{{/* Refuses values whose webhook cannot work, as far as they tell: a file outside of what the chart mounts may
come by other means. */}}
{{- define "regcred.checkWebhook" -}}
{{- $values := .Values }}
{{- $at := "config.triggers.webhook" }}
{{- $webhook := (.Values.config.triggers).webhook }}
{{- if and (kindIs "map" $webhook) (not (or $webhook.tokenFile $webhook.hmacKeyFile)) }}
{{- fail (printf "%s has neither tokenFile nor hmacKeyFile, and anyone could wake regcred: give one of them" $at) }}
{{- end }}
{{- with $webhook }}
{{- $listen := include "regcred.webhookListen" $ }}
{{- $port := include "regcred.webhookPort" $ | atoi }}
{{- if or (not (regexMatch "^([0-9.]+|\\[[0-9A-Fa-f:.%]+\\]):[0-9]+$" $listen)) (lt $port 1) (gt $port 65535) }}
{{- fail (printf "%s.listen must be an address and a port, such as 0.0.0.0:8081" $at) }}
{{- else if eq $port 8080 }}
{{- fail (printf "%s.listen must have another port than 8080, which metrics and probes have" $at) }}
{{- end }}
{{- $tls := .tls | default dict }}
{{- if and $values.webhookTlsSecret (not .tls) }}
{{- fail (printf "webhookTlsSecret is of no use without %s.tls, and the webhook would not speak TLS: name its files there" $at) }}
{{- end }}
{{- $files := dict "tokenFile" .tokenFile "hmacKeyFile" .hmacKeyFile "tls.certificateFile" $tls.certificateFile "tls.keyFile" $tls.keyFile }}
{{- range $field, $file := $files }}
{{- range $directory, $secret := dict "/run/webhook/" "webhookSecret" "/run/webhook-tls/" "webhookTlsSecret" }}
{{- if and $file (hasPrefix $directory $file) (not (index $values $secret)) }}
{{- $mounted := false }}
{{- range $values.extraVolumeMounts }}
{{- $mounted = or $mounted (hasPrefix (printf "%s/" (toString .mountPath | trimSuffix "/")) (printf "%s/" $file)) }}
{{- end }}
{{- if not $mounted }}
{{- fail (printf "%s.%s is in %s, where nothing is mounted: set %s to the name of the Secret that holds it, mount it by extraVolumeMounts, or name a file elsewhere where an injector brings it" $at $field $directory $secret) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
