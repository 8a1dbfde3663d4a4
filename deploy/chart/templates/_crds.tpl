{{/* What every custom resource definition carries. They are templates so that `helm upgrade` updates them, and are kept on
uninstall so that policies and records survive it; `helm.sh/resource-policy: keep` is what says so. */}}
{{- define "intact.crd.annotations" -}}
{{- if .Values.crds.keep }}
helm.sh/resource-policy: keep
{{- end }}
{{- end }}

{{- define "intact.crd.conditions" -}}
type: array
description: The usual Kubernetes conditions.
maxItems: 8
x-kubernetes-list-type: map
x-kubernetes-list-map-keys: [type]
items:
  type: object
  required: [type, status, lastTransitionTime, reason, message]
  properties:
    type: {type: string, maxLength: 316}
    status: {type: string, enum: ["True", "False", Unknown]}
    observedGeneration: {type: integer, format: int64, minimum: 0}
    lastTransitionTime: {type: string, format: date-time}
    reason: {type: string, minLength: 1, maxLength: 1024}
    message: {type: string, maxLength: 4096}
{{- end }}

{{- define "intact.crd.workload" -}}
type: object
description: The object that owns the containers.
required: [kind, name]
properties:
  kind: {type: string, maxLength: 63}
  name: {type: string, maxLength: 253}
  uid: {type: string, maxLength: 140}
{{- end }}

{{- define "intact.crd.paths" -}}
type: array
description: gitignore patterns of absolute paths inside the container.
minItems: 1
maxItems: 64
items: {type: string, minLength: 1, maxLength: 512}
{{- end }}

{{- define "intact.crd.duration" -}}
type: string
maxLength: 16
pattern: '^([0-9]{1,6}[smhd])+$'
{{- end }}

{{/* spec of IntegrityPolicy and ClusterIntegrityPolicy: one grammar. Every list and string is bounded, which keeps the cost of the
CEL rules within the API server's limit. */}}
{{- define "intact.crd.policy" -}}
type: object
description: Which pods, how they are watched, which differences are fine, and what to do about the rest.
properties:
  selector:
    type: object
    description: The pods this policy governs; empty selects all pods in reach.
    x-kubernetes-map-type: atomic
    properties:
      matchLabels:
        type: object
        maxProperties: 32
        additionalProperties: {type: string, maxLength: 63}
      matchExpressions:
        type: array
        maxItems: 32
        items:
          type: object
          required: [key, operator]
          properties:
            key: {type: string, minLength: 1, maxLength: 317}
            operator: {type: string, enum: [In, NotIn, Exists, DoesNotExist]}
            values:
              type: array
              maxItems: 64
              items: {type: string, maxLength: 63}
          x-kubernetes-validations:
            - rule: "self.operator in ['Exists', 'DoesNotExist'] ? !has(self.values) || self.values.size() == 0 : has(self.values) && self.values.size() > 0"
              message: In and NotIn need values, Exists and DoesNotExist take none
  mode:
    type: string
    description: Observe only alerts, Enforce also acts, Off does not watch.
    enum: [Observe, Enforce, "Off"]
    default: Observe
  workload:
    type: string
    description: Build declares that changed files and foreign programs are the work of these pods; rights, mounts and read-only layers still count.
    enum: [Service, Build]
    default: Service
  watch:
    type: object
    properties:
      realtime:
        type: boolean
        description: Hear of changes as they happen, beside the timed looks.
        default: true
      volumes:
        type: boolean
        description: Tell of programs that run from volumes, instead of only counting them.
      interval:
        type: string
        description: The longest time between two looks, such as 60s or 5m; at least 1s.
        maxLength: 16
        pattern: '^([0-9]{1,6}[smh])+$'
        default: 60s
        x-kubernetes-validations:
          - rule: "duration(self) >= duration('1s') && duration(self) <= duration('24h')"
            message: interval must be between 1s and 24h
  baseline:
    type: object
    properties:
      require:
        type: string
        description: The weakest trust grade of a baseline that this policy accepts.
        enum: [Signed, Verified, Corroborated, NodeReported, Supplied, FirstSeen]
      signedBy:
        type: array
        description: Every image must bear a signature by one of these keys or identities, as cosign makes it.
        minItems: 1
        maxItems: 8
        items:
          type: object
          x-kubernetes-validations:
            - rule: "has(self.key) != has(self.identity) && has(self.identity) == has(self.issuer)"
              message: either key, or identity and issuer
          properties:
            identity:
              type: string
              description: >-
                Whose certificate: an e-mail address or URI, spelled out. At the end of a workflow's URI, behind @refs/heads/ or @refs/tags/, one *
                may stand. Needs a controller with the extra keyless.
              minLength: 1
              maxLength: 512
            issuer: {type: string, minLength: 1, maxLength: 512, description: The URL of the OpenID Connect issuer that vouches for the identity.}
            key:
              type: string
              description: A public key in PEM, ECDSA P-256 or Ed25519; the cosign.pub of cosign generate-key-pair.
              minLength: 1
              maxLength: 1024
            name: {type: string, maxLength: 256, description: What people call it.}
  expect:
    type: array
    description: Differences that are fine.
    maxItems: 64
    items:
      type: object
      required: [paths]
      properties:
        paths: {{- include "intact.crd.paths" . | nindent 10 }}
        changes:
          type: array
          description: The kinds of change that are fine; all of files if left out. Executed and Mounted must be named.
          minItems: 1
          maxItems: 7
          x-kubernetes-list-type: set
          items: {type: string, enum: [Added, Deleted, Type, Modified, Metadata, Executed, Mounted]}
        grows:
          type: boolean
          description: Only added files, and files that did not shrink.
        until:
          type: string
          description: When this expectation ends, as 2027-01-31 or 2027-01-31T12:00:00Z.
          maxLength: 32
          pattern: '^[0-9]{4}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?(Z|[+-][0-9]{2}:[0-9]{2}))?$'
        reason: {type: string, maxLength: 256}
      x-kubernetes-validations:
        - rule: "!has(self.grows) || !self.grows || !has(self.changes) || self.changes.all(c, c in ['Added', 'Modified'])"
          message: grows is about added and modified files; leave other changes out or write an entry of their own
  levels:
    type: array
    description: The level of a finding by its path, over what the default rules say.
    maxItems: 64
    items:
      type: object
      required: [paths, level]
      properties:
        paths: {{- include "intact.crd.paths" . | nindent 10 }}
        level: {type: string, enum: [Info, Low, Medium, High, Critical]}
  respond:
    type: array
    description: What to do when; of several rules that match, the strongest action. Left out, Enforce applies the default cure of each cause.
    minItems: 1
    maxItems: 32
    items:
      type: object
      required: [when, do]
      properties:
        when:
          type: object
          description: What must hold, all of it; empty is always.
          properties:
            cause:
              description: One cause or a list of up to three; any if left out.
              x-kubernetes-preserve-unknown-fields: true
              enum:
                {{- $causes := list "Container" "Revision" "Node" "ImageTrust" "Unknown" }}
                {{- range $a := $causes }}
                - {{ $a }}
                - [{{ $a }}]
                {{- range $b := without $causes $a }}
                - [{{ $a }}, {{ $b }}]
                {{- range $c := without $causes $a $b }}
                - [{{ $a }}, {{ $b }}, {{ $c }}]
                {{- end }}
                {{- end }}
                {{- end }}
            level:
              type: string
              description: At least this level.
              enum: [Info, Low, Medium, High, Critical]
            count:
              type: integer
              description: At least so many findings within the time given by within.
              minimum: 1
              maximum: 1000
            within: {{- include "intact.crd.duration" . | nindent 14 }}
              description: The time in which count is counted.
          x-kubernetes-validations:
            - rule: "(has(self.count) && self.count > 1) == has(self.within)"
              message: "a count above 1 and within belong together, for example count: 3, within: 10m"
        do:
          type: array
          description: The strongest of these that no guard rail forbids is done; an alert is always given.
          minItems: 1
          maxItems: 3
          x-kubernetes-list-type: set
          items: {type: string, enum: [Alert, RestartPod, RollBack]}
  guard:
    type: object
    description: What keeps a cure from becoming the outage.
    properties:
      maxActions:
        type: integer
        description: At most so many actions on a workload in the time given by per.
        minimum: 0
        maximum: 50
      per: {{- include "intact.crd.duration" . | nindent 8 }}
        description: The time in which maxActions is counted; 1h if left out.
      cooldown: {{- include "intact.crd.duration" . | nindent 8 }}
        description: No action within this time of another on the same workload; 5m if left out.
      minReady:
        type: integer
        description: No action that leaves fewer ready pods than this.
        minimum: 0
        maximum: 100000
      corroboration:
        type: string
        description: What must confirm a finding before a whole workload is acted on; Reporter is the word of the reporting node alone.
        enum: [TwoNodes, Reporter]
      rollback:
        type: object
        description: To which revision RollBack returns.
        properties:
          to:
            type: string
            description: LastKnownGood was seen intact for the soak time; Previous is the revision before, whatever is known of it.
            enum: [LastKnownGood, Previous]
          soak: {{- include "intact.crd.duration" . | nindent 12 }}
            description: How long a revision must have been seen intact without a break to be known good; 10m if left out.
x-kubernetes-validations:
  - rule: "!has(self.respond) || !has(self.mode) || self.mode != 'Off'"
    message: "mode Off watches nothing, so respond would never apply: use Observe to alert without acting, or leave respond out"
{{- end }}

{{- define "intact.crd.policyVersion" -}}
name: v1alpha1
served: true
storage: true
subresources: {status: {}}
additionalPrinterColumns:
  - {name: Mode, type: string, jsonPath: .spec.mode}
  - {name: Accepted, type: string, jsonPath: '.status.conditions[?(@.type=="Accepted")].status'}
  - {name: Pods, type: integer, jsonPath: .status.pods}
  - {name: Age, type: date, jsonPath: .metadata.creationTimestamp}
schema:
  openAPIV3Schema:
    type: object
    required: [spec]
    properties:
      spec: {{- include "intact.crd.policy" . | nindent 8 }}
      status:
        type: object
        properties:
          observedGeneration: {type: integer, format: int64, minimum: 0}
          pods: {type: integer, minimum: 0, description: Pods governed by this policy.}
          conditions: {{- include "intact.crd.conditions" . | nindent 12 }}
{{- end }}
