{{- define "kamacache.labels" -}}
app.kubernetes.io/name: kamacache
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}
