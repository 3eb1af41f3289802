{{/* The name of all objects: the name of the release, with `regcred` appended unless it contains it. */}}
{{- define "regcred.name" -}}
{{- if contains "regcred" .Release.Name }}{{ .Release.Name }}{{ else }}{{ printf "%s-regcred" .Release.Name }}{{ end }}
{{- end }}

{{/* The labels of every object, also used by selectors: nothing that ever changes. */}}
{{- define "regcred.labels" -}}
app.kubernetes.io/name: regcred
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The user name of the account. */}}
{{- define "regcred.user" -}}
system:serviceaccount:{{ .Release.Namespace }}:{{ include "regcred.name" . }}
{{- end }}

{{/* The names of the Secrets with the last good values, as JSON. */}}
{{- define "regcred.lastGoodNames" -}}
{{- $names := list }}
{{- range until (int .Values.lastGoodShards) }}
{{- $names = append $names (printf "regcred-last-good-%d" .) }}
{{- end }}
{{- toJson $names }}
{{- end }}

{{/* The address of the webhook; empty without a webhook. */}}
{{- define "regcred.webhookListen" -}}
{{- with (.Values.config.triggers).webhook }}{{ hasKey . "listen" | ternary .listen "0.0.0.0:8081" }}{{ end }}
{{- end }}

{{/* Its port. */}}
{{- define "regcred.webhookPort" -}}
{{- include "regcred.webhookListen" . | regexFind "[0-9]+$" }}
{{- end }}

{{- define "regcred.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}
