{{/* Rejects values with which the webhook cannot work, as far as the values show it: a file outside of the mounts of
the chart may have another source. */}}
{{- define "regcred.checkWebhook" -}}
{{- $values := .Values }}
{{- $at := "config.triggers.webhook" }}
{{- $webhook := (.Values.config.triggers).webhook }}
{{- if and (kindIs "map" $webhook) (not (or $webhook.tokenFile $webhook.hmacKeyFile)) }}
{{- fail (printf "%s has neither tokenFile nor hmacKeyFile, so that any sender could trigger a rotation: set one of them" $at) }}
{{- end }}
{{- with $webhook }}
{{- $listen := include "regcred.webhookListen" $ }}
{{- $port := include "regcred.webhookPort" $ | atoi }}
{{- if or (not (regexMatch "^([0-9.]+|\\[[0-9A-Fa-f:.%]+\\]):[0-9]+$" $listen)) (lt $port 1) (gt $port 65535) }}
{{- fail (printf "%s.listen must be an address and a port, such as 0.0.0.0:8081" $at) }}
{{- else if or (eq $port 8080) (eq $port 8082) }}
{{- fail (printf "%s.listen must have another port than 8080 and 8082, which serve metrics and probes" $at) }}
{{- end }}
{{- $tls := .tls | default dict }}
{{- if and $values.webhookTlsSecret (not .tls) }}
{{- fail (printf "webhookTlsSecret has no effect without %s.tls, and the webhook would speak plain HTTP: name its files there" $at) }}
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
{{- fail (printf "%s.%s is in %s, where nothing is mounted: set %s to the name of the Secret with the file, mount it with extraVolumeMounts, or name a file elsewhere if an injector provides it" $at $field $directory $secret) }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
{{- end }}
