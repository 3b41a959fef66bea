{{/* Parts of the trial's objects. */}}

{{/* Ingress from the named components only, no way out; call with (list $ "model" 8089 (list "worker")). */}}
{{- define "codex.trialPolicy" -}}
{{- $root := index . 0 -}}
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: codex-{{ index . 1 }}
  namespace: {{ $root.Release.Namespace }}
  labels: {{- include "codex.labels" (list $root (index . 1)) | nindent 4 }}
spec:
  podSelector:
    matchLabels: {{- include "codex.selector" (list $root (index . 1)) | nindent 6 }}
  policyTypes: [Ingress, Egress]
  ingress:
  - ports: [{protocol: TCP, port: {{ index . 2 }}}]
    from:
    {{- range index . 3 }}
    - podSelector:
        matchLabels: {{- include "codex.selector" (list $root .) | nindent 10 }}
    {{- end }}
{{- end }}

{{/* A Secret with random values that stay the same when the release is upgraded; call with (list $ component name keys). */}}
{{- define "codex.generatedSecret" -}}
{{- $root := index . 0 -}}
{{- $existing := dig "data" dict (lookup "v1" "Secret" $root.Release.Namespace (index . 2)) -}}
apiVersion: v1
kind: Secret
metadata:
  name: {{ index . 2 }}
  namespace: {{ $root.Release.Namespace }}
  labels: {{- include "codex.labels" (list $root (index . 1)) | nindent 4 }}
type: Opaque
data:
{{- range index . 3 }}
  {{ . }}: {{ get $existing . | default (randAlphaNum 32 | b64enc) }}
{{- end }}
{{- end }}

{{/* Script of the scripted model. */}}
{{- define "codex.modelScript" -}}
{{ .Values.trial.model.script | default (.Files.Get "files/model-script.yaml") }}
{{- end }}
