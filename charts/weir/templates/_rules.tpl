{{/* What the operator may do where jobs are. No exec, no wildcard; it can't read a Secret there. */}}
{{- define "weir.rules" -}}
# What users write. Finalizers are in the metadata, so that the objects themselves are patched; their spec never is.
- apiGroups: [weir.dev]
  resources: [streamjobs, savepoints]
  verbs: [get, list, watch, patch]
- apiGroups: [weir.dev]
  resources: [streamjobs/status, savepoints/status]
  verbs: [update]
# What a job consists of. Its objects go with the job, by the garbage collection of the cluster; pods and the manifests of
# versions that are over are deleted before.
- apiGroups: [""]
  resources: [pods]
  verbs: [get, list, watch, create, delete]
- apiGroups: [""]
  resources: [configmaps]
  verbs: [get, create, patch, delete]
- apiGroups: [""]
  resources: [services, serviceaccounts]
  verbs: [create, patch]
- apiGroups: [policy]
  resources: [poddisruptionbudgets]
  verbs: [create, patch]
- apiGroups: [networking.k8s.io]
  resources: [networkpolicies]
  verbs: [create, patch]
# Certificates of each job are written, and never read.
- apiGroups: [""]
  resources: [secrets]
  verbs: [create, patch]
# What happens to pods, and what is told of jobs.
- apiGroups: [""]
  resources: [events]
  verbs: [list]
- apiGroups: [events.k8s.io]
  resources: [events]
  verbs: [create, patch]
{{- end }}
