{{/*
Names are fixed, not made of the release: the CRD and the admission policies exist once per cluster, and so does this chart.
A second release is refused by Helm, because these objects belong to the first.
*/}}

{{/* Labels of an object; call with (list $ "worker"). */}}
{{- define "codex.labels" -}}
{{ include "codex.selector" . }}
app.kubernetes.io/managed-by: {{ (index . 0).Release.Service }}
app.kubernetes.io/version: {{ (index . 0).Chart.AppVersion | quote }}
helm.sh/chart: {{ printf "%s-%s" (index . 0).Chart.Name (index . 0).Chart.Version }}
{{- end }}

{{/* Labels that select the pods of a component; call with (list $ "worker"). */}}
{{- define "codex.selector" -}}
app.kubernetes.io/name: codex-temporal
app.kubernetes.io/instance: {{ (index . 0).Release.Name }}
app.kubernetes.io/component: {{ index . 1 }}
{{- end }}

{{/* The user name by which admission policies know the operator. */}}
{{- define "codex.operatorUser" -}}
system:serviceaccount:{{ .Release.Namespace }}:codex-operator
{{- end }}

{{/* What every pod of ours has in common; PodSecurity `restricted` asks for most of it. Call with (list $ nodeSettings). */}}
{{- define "codex.podBasics" -}}
enableServiceLinks: false
securityContext:
  runAsNonRoot: true
  runAsUser: 10001
  runAsGroup: 10001
  fsGroup: 10001
  fsGroupChangePolicy: OnRootMismatch
  seccompProfile: {type: RuntimeDefault}
{{- with (index . 0).Values.images.pullSecrets }}
imagePullSecrets:
{{- range . }}
- name: {{ . }}
{{- end }}
{{- end }}
{{- with (index . 1).nodeSelector }}
nodeSelector: {{ toJson . }}
{{- end }}
{{- with (index . 1).tolerations }}
tolerations: {{ toJson . }}
{{- end }}
{{- end }}

{{/* Of every container. */}}
{{- define "codex.containerSecurity" -}}
allowPrivilegeEscalation: false
readOnlyRootFilesystem: true
capabilities: {drop: [ALL]}
{{- end }}

{{/* host:port of the Temporal server, without a scheme. */}}
{{- define "codex.temporalAddress" -}}
{{- if .Values.temporal.address -}}
{{ .Values.temporal.address | trimPrefix "http://" | trimPrefix "https://" }}
{{- else -}}
codex-temporal.{{ .Release.Namespace }}.svc:7233
{{- end -}}
{{- end }}

{{/* Settings that operator and worker read alike. */}}
{{- define "codex.commonEnvironment" -}}
- {name: TEMPORAL_ADDRESS, value: {{ include "codex.temporalAddress" . | quote }}}
- {name: TEMPORAL_NAMESPACE, value: {{ .Values.temporal.namespace | quote }}}
- {name: CODEX_TASK_QUEUE, value: {{ .Values.temporal.taskQueue | quote }}}
- {name: METRICS_PORT, value: "9090"}
{{- end }}

{{/* Annotations by which a Prometheus that follows them finds the metrics. */}}
{{- define "codex.metricsAnnotations" -}}
prometheus.io/scrape: "true"
prometheus.io/port: "9090"
prometheus.io/path: /metrics
{{- end }}
