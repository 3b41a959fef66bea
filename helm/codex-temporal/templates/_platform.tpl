{{/* What operator and worker are told about each other, about sandboxes and about model providers. */}}

{{/* Labels of worker pods as k=v,k=v: the only pods that may connect to sandboxes. */}}
{{- define "codex.workerSelector" -}}
app.kubernetes.io/name=codex-temporal,app.kubernetes.io/instance={{ .Release.Name }},app.kubernetes.io/component=worker
{{- end }}

{{/* Addresses that no sandbox may reach, as name=host:port,name=host:port. */}}
{{- define "codex.sandboxProbes" -}}
{{- $probes := dict "temporal" (include "codex.temporalAddress" .) "database" (printf "%s:%v" (include "codex.databaseHost" .) .Values.database.port) -}}
{{- $all := list -}}
{{- range $name, $address := merge $probes .Values.sandbox.probes -}}
{{- $all = append $all (printf "%s=%s" $name $address) -}}
{{- end -}}
{{- join "," $all -}}
{{- end }}

{{/* Ingress rules of a pod that offers nothing but metrics. */}}
{{- define "codex.metricsIngress" -}}
- ports: [{protocol: TCP, port: 9090}]
  from:
  - namespaceSelector: {}
    podSelector:
      matchExpressions:
      - {key: app.kubernetes.io/name, operator: NotIn, values: [codex-sandbox]}
{{- end }}

{{/* The providers as given; a trial adds its scripted model as `default` unless one of that name is given. */}}
{{- define "codex.providersInUse" -}}
{{- $providers := deepCopy (.Values.providers | default dict) -}}
{{- if include "codex.scriptedModel" . -}}
{{- $url := printf "http://codex-model.%s.svc:8089/v1" .Release.Namespace -}}
{{- /* Prices of nothing real, so that spec.limits.maxCost and status.usage.cost can be tried. */ -}}
{{- $prices := dict "input" "1" "cachedInput" "0.1" "output" "10" -}}
{{- $models := dict "scripted" (dict "prices" $prices) -}}
{{- $_ := set $providers "default" (dict "baseUrl" $url "secretName" "codex-model" "defaultModel" "scripted" "models" $models) -}}
{{- end -}}
{{ toYaml $providers }}
{{- end }}

{{/* Not empty where the trial brings its scripted model. */}}
{{- define "codex.scriptedModel" -}}
{{- if and .Values.trial.enabled (not (hasKey (.Values.providers | default dict) "default")) -}}true{{- end -}}
{{- end }}

{{/* providers.yaml as the worker reads it. */}}
{{- define "codex.providers" -}}
providers:
{{- range $name, $provider := (include "codex.providersInUse" . | fromYaml) }}
  {{ $name }}:
    baseUrl: {{ $provider.baseUrl | quote }}
    {{- if $provider.secretName }}
    apiKeyFile: {{ printf "/etc/codex/providers/%s/api-key" $name | quote }}
    {{- end }}
    defaultModel: {{ $provider.defaultModel | quote }}
    namespaces: {{ $provider.namespaces | default (list "*") | toJson }}
    {{- with $provider.models }}
    models: {{- toYaml . | nindent 6 }}
    {{- end }}
{{- end }}
{{- end }}

{{/* What the operator's init container `prepare` needs to know, and the operator too. */}}
{{- define "codex.preparingEnvironment" -}}
- {name: LOG_LEVEL, value: {{ .Values.operator.logLevel | quote }}}
- {name: CODEX_SYSTEM_NAMESPACE, valueFrom: {fieldRef: {fieldPath: metadata.namespace}}}
- {name: CODEX_CA_SECRET, value: codex-ca}
- {name: CODEX_WORKER_TLS_SECRET, value: codex-worker-tls}
{{- end }}
