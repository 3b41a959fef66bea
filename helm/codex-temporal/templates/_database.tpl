{{/* The journal's database: its own PostgreSQL in a trial, yours otherwise. */}}

{{- define "codex.databaseHost" -}}
{{ .Values.database.host | default (printf "codex-postgresql.%s.svc" .Release.Namespace) }}
{{- end }}

{{- define "codex.databaseSecret" -}}
{{ if .Values.database.host }}{{ .Values.database.secret }}{{ else }}codex-postgresql{{ end }}
{{- end }}

{{/* URL of the database for a role, without a password; call with (list $ "codex_worker"). */}}
{{- define "codex.databaseUrl" -}}
{{- $root := index . 0 -}}
{{- with $root.Values.database -}}
postgresql+asyncpg://{{ index $ 1 | urlquery }}@{{ include "codex.databaseHost" $root }}:{{ .port }}/{{ .name | urlquery }}
{{- if .host }}?ssl={{ .sslMode }}{{ end }}
{{- end -}}
{{- end }}

{{/* The environment that reaches the database as one role; call with (list $ "worker"). */}}
{{- define "codex.databaseEnvironment" -}}
{{- $root := index . 0 }}
{{- $role := index . 1 -}}
- {name: CODEX_DATABASE_URL, value: {{ include "codex.databaseUrl" (list $root (index $root.Values.database (printf "%sRole" $role))) | quote }}}
- {name: CODEX_DATABASE_PASSWORD_FILE, value: /etc/codex/database/{{ $role }}/password}
{{- if and $root.Values.database.host $root.Values.database.caSecret }}
- {name: PGSSLROOTCERT, value: /etc/codex/database/ca/ca.crt}
{{- end }}
{{- end }}

{{/* Mounts of one role's password; call with (list $ "worker"). */}}
{{- define "codex.databaseMounts" -}}
- {name: database-{{ index . 1 }}, mountPath: /etc/codex/database/{{ index . 1 }}, readOnly: true}
{{- end }}

{{/* Mount of the server's authority, where one is given. */}}
{{- define "codex.databaseAuthorityMount" -}}
{{- if and .Values.database.host .Values.database.caSecret -}}
- {name: database-ca, mountPath: /etc/codex/database/ca, readOnly: true}
{{- end -}}
{{- end }}

{{/* Volumes with the passwords of the given roles, each alone in its volume; call with (list $ "owner" "operator"). */}}
{{- define "codex.databaseVolumes" -}}
{{- $root := index . 0 -}}
{{- range rest . }}
- name: database-{{ . }}
  secret:
    secretName: {{ include "codex.databaseSecret" $root }}
    defaultMode: 0440
    items: [{key: {{ . }}-password, path: password}]
{{- end }}
{{- if and $root.Values.database.host $root.Values.database.caSecret }}
- name: database-ca
  secret:
    secretName: {{ $root.Values.database.caSecret }}
    items: [{key: ca.crt, path: ca.crt}]
{{- end }}
{{- end }}
