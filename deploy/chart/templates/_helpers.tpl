{{/* The name of everything: the release's, which says `regcred` itself or gets it appended. */}}
{{- define "regcred.name" -}}
{{- if contains "regcred" .Release.Name }}{{ .Release.Name }}{{ else }}{{ printf "%s-regcred" .Release.Name }}{{ end }}
{{- end }}

{{/* On every object, and what selectors hold on to: nothing that ever changes. */}}
{{- define "regcred.labels" -}}
app.kubernetes.io/name: regcred
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{/* The port of the webhook; nothing where there is none. */}}
{{- define "regcred.webhookPort" -}}
{{- with (.Values.config.triggers).webhook }}{{ .listen | default "0.0.0.0:8081" | regexFind "[0-9]+$" }}{{ end }}
{{- end }}

{{- define "regcred.image" -}}
{{- with .Values.image -}}
{{ .repository }}{{ if .digest }}@{{ .digest }}{{ else }}:{{ .tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}
{{- end }}
