{{/* What the operator may do where jobs are. No exec, no wildcard, no right to list Secrets. */}}
{{- define "weir.rules" -}}
# What users write. Finalizers are in the metadata, so that the objects themselves are patched; their spec is never.
- apiGroups: [weir.dev]
  resources: [streamjobs, savepoints]
  verbs: [get, list, watch, patch]
- apiGroups: [weir.dev]
  resources: [streamjobs/status, savepoints/status]
  verbs: [get, patch]
# An owner that blocks its own deletion until what it owns is gone.
- apiGroups: [weir.dev]
  resources: [streamjobs/finalizers, savepoints/finalizers]
  verbs: [update]
# What a job consists of.
- apiGroups: [""]
  resources: [pods, services, configmaps, serviceaccounts]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [get, list, watch, create, patch, delete]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [get, list, watch, create, patch, delete]
# Certificates of each job. RBAC can't say "those that it made"; it reads by name only those, and can't list any.
- apiGroups: [""]
  resources: [secrets]
  verbs: [get, create, patch, delete]
# What happens to pods, and what is told of jobs.
- apiGroups: [""]
  resources: [events]
  verbs: [get, list, watch, create, patch]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [get, list, watch, create, patch]
{{- end }}
