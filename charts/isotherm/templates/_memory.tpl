{{/*
What the programs of a pod may take must fit in its memory limit, or the kernel ends it at the worst time; and
the log must fit on the disk of its server. The sums are those of the table in docs/operations.md.
*/}}
{{- define "isotherm.validateMemory" -}}
{{- $mebibyte := 1048576 }}
{{- /* What a reader of the log takes for each partition: 64 frames of 256 KiB that wait, and 8 MiB of a batch. */}}
{{- $readers := mul .Values.partitions 24 $mebibyte }}
{{- $ingest := add (include "isotherm.bytes" .Values.ingest.requestMemory) (mul 128 $mebibyte) }}
{{- include "isotherm.requireLimit" (list .Values.ingest "ingest" $ingest "ingest.requestMemory and 128 MiB") }}
{{- $hotWriter := add $readers (mul 128 $mebibyte) }}
{{- include "isotherm.requireLimit" (list .Values.hotWriter "hotWriter" $hotWriter "24 MiB for each partition and 128 MiB") }}
{{- with .Values.compactor }}
{{- /* And the rows of its batch twice; to check a file takes 256 MiB, and the scans of readers 216 MiB. */}}
{{- $partitions := mul $.Values.partitions 56 $mebibyte }}
{{- $sum := add (include "isotherm.bytes" .memoryLimit) (include "isotherm.bytes" .dedupeMemory) (include "isotherm.bytes" .openMemory) (mul 472 $mebibyte) $partitions }}
{{- include "isotherm.requireLimit" (list . "compactor" $sum "memoryLimit, dedupeMemory, openMemory, 472 MiB and 56 MiB for each partition") }}
{{- end }}
{{- with .Values.archiver }}
{{- $sum := max (mul 8 .fileMemoryBytes) (mul 512 $mebibyte) }}
{{- include "isotherm.requireLimit" (list . "archiver" $sum "8 times fileMemoryBytes, at least 512 MiB") }}
{{- end }}
{{- include "isotherm.requireLimit" (list .Values.query "query" (include "isotherm.bytes" .Values.query.memoryBytes) "memoryBytes") }}
{{- with .Values.executor }}
{{- $process := add (mul 2 (include "isotherm.bytes" .memoryBytes)) (mul 1024 $mebibyte) }}
{{- $sum := add (mul .processes $process) (mul 256 $mebibyte) }}
{{- include "isotherm.requireLimit" (list . "executor" $sum "256 MiB and, for each of processes, twice memoryBytes and 1 GiB") }}
{{- end }}
{{- if and (include "isotherm.dev" .) (lt (include "isotherm.devLogBytes" . | int64) (mul 16 $mebibyte)) }}
{{- fail (printf "\n\ndev.nats.storage is too small for a log of %d partitions and 1 GiB of dead letters: set dev.nats.storage to 2Gi or more, or fewer partitions.\n" (int64 .Values.partitions)) }}
{{- end }}
{{- end }}

{{/* Fails unless the pod's memory limit, if it has one, is at least that: (list .Values.ingest "ingest" bytes "what it is the sum of") */}}
{{- define "isotherm.requireLimit" -}}
{{- $limit := dig "resources" "limits" "memory" "" (first .) }}
{{- $name := index . 1 }}
{{- $least := index . 2 | int64 }}
{{- if and $limit (lt (include "isotherm.bytes" $limit | int64) $least) }}
{{- fail (printf "\n\n%s.resources.limits.memory is %v and must be at least %dMi: %s. Raise it, or lower what it is the sum of.\n" $name $limit (div (add $least 1048575) 1048576) (last .)) }}
{{- end }}
{{- end }}

{{/* The largest log of one partition on the NATS of profile: dev: an equal share of four fifths of its disk, without the dead letters' 1 GiB. */}}
{{- define "isotherm.devLogBytes" -}}
{{- div (sub (div (mul (include "isotherm.bytes" .Values.dev.nats.storage) 4) 5) 1073741824) .Values.partitions }}
{{- end }}

{{/* A size such as 384MiB, 2Gi, 1.5G or 1048576 in bytes. */}}
{{- define "isotherm.bytes" -}}
{{- if kindIs "string" . }}
{{- $unit := regexReplaceAll "^[0-9.]+|B$" . "" }}
{{- $factors := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "T" 1000000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 "Ti" 1099511627776 }}
{{- if not (hasKey $factors $unit) }}
{{- fail (printf "\n\n%q is no size: write a number with one of the units Ki, Mi, Gi, Ti, k, M, G, T.\n" .) }}
{{- end }}
{{- mulf (regexFind "^[0-9.]+" . | float64) (get $factors $unit) | int64 }}
{{- else }}
{{- int64 . }}
{{- end }}
{{- end }}
