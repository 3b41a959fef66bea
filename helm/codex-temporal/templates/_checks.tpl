{{/* What cannot be said in the schema; all that is missing is told at once. */}}
{{- define "codex.checks" -}}
{{- $missing := list -}}
{{- $trial := .Values.trial.enabled -}}
{{- if not .Values.images.app -}}
{{- $missing = append $missing "images.app is empty: build the Dockerfile's target `app`, push it where the cluster can pull it, and name it here" -}}
{{- end -}}
{{- if not .Values.images.sandbox -}}
{{- $missing = append $missing "images.sandbox is empty: build the Dockerfile's target `sandbox`, push it where the cluster can pull it, and name it here" -}}
{{- end -}}
{{- if and $trial (not .Values.images.trial) (not (and .Values.temporal.address .Values.database.host)) -}}
{{- $missing = append $missing "images.trial is empty: build the Dockerfile's target `trial`, push it where the cluster can pull it, and name it here" -}}
{{- end -}}
{{- if not (or $trial .Values.temporal.address) -}}
{{- $missing = append $missing "temporal.address is empty: give host:port of your Temporal server, or set trial.enabled=true to try everything with a dev server" -}}
{{- end -}}
{{- if not (or $trial .Values.database.host) -}}
{{- $missing = append $missing "database.host is empty: give the host of your PostgreSQL, or set trial.enabled=true to try everything with a throwaway one" -}}
{{- end -}}
{{- if and .Values.database.host (not .Values.database.secret) -}}
{{- $missing = append $missing "database.secret is empty: create a Secret with the keys owner-password, operator-password and worker-password, and name it here" -}}
{{- end -}}
{{- if and (hasPrefix "verify-" .Values.database.sslMode) (not .Values.database.caSecret) -}}
{{- $missing = append $missing (printf "database.caSecret is empty: sslMode %s needs a Secret whose key ca.crt holds the server's authority" .Values.database.sslMode) -}}
{{- end -}}
{{- if not (or $trial .Values.providers) -}}
{{- $missing = append $missing "providers is empty: name a model provider (providers.default.baseUrl, .secretName, .defaultModel), or set trial.enabled=true to try everything with a scripted model" -}}
{{- end -}}
{{- if $missing -}}
{{- fail (printf "\n\ncodex-temporal cannot be installed yet:\n- %s\n" (join "\n- " $missing)) -}}
{{- end -}}
{{- end }}

{{/* approval.admission as text: YAML reads an unquoted `off` as false. */}}
{{- define "codex.admissionMode" -}}
{{ .Values.approval.admission | default "off" }}
{{- end }}

{{/*
Which approval policies are installed: `all`, `validating` (nobody records who decided) or `none`.
Without a cluster to ask (`helm template`, and the GitOps tools that use it) the API versions are a guess of Helm's: all are
rendered then, so that a cluster which lacks them refuses them aloud.
*/}}
{{- define "codex.admission" -}}
{{- $mode := include "codex.admissionMode" . -}}
{{- $asked := lookup "v1" "Namespace" "" "kube-system" -}}
{{- $mutating := .Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/MutatingAdmissionPolicy" -}}
{{- $validating := .Capabilities.APIVersions.Has "admissionregistration.k8s.io/v1/ValidatingAdmissionPolicy" -}}
{{- $version := .Capabilities.KubeVersion.Version -}}
{{- if eq $mode "off" -}}
none
{{- else if or (not $asked) $mutating -}}
all
{{- else if eq $mode "required" -}}
{{- fail (printf "\n\napproval.admission is `required`, but this cluster (%s) serves no MutatingAdmissionPolicy v1, which records who approved.\nUse Kubernetes 1.36 or newer, or set approval.admission=auto: decisions are checked then, but who took them is not recorded.\n" $version) -}}
{{- else if $validating -}}
validating
{{- else -}}
{{- fail (printf "\n\nThis cluster (%s) serves no ValidatingAdmissionPolicy v1: approvals cannot be checked.\nUse Kubernetes 1.36 or newer, or set approval.admission=off: whoever may patch a session may approve its commands then.\n" $version) -}}
{{- end -}}
{{- end }}
