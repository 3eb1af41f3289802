{{/* Refuses values whose webhook cannot work, as far as they tell: a file outside of what the chart mounts may
come by other means. */}}
{{- define "regcred.checkWebhook" -}}
{{- $values := .Values }}
{{- with (.Values.config.triggers).webhook }}
{{- $at := "config.triggers.webhook" }}
{{- $port := .listen | default "0.0.0.0:8081" | regexFind ":[0-9]+$" }}
{{- if not $port }}
{{- fail (printf "%s.listen must be an address and a port, such as 0.0.0.0:8081" $at) }}
{{- else if eq $port ":8080" }}
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
