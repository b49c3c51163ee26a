"""Files of pipelines as KFP reads them: one or two YAML documents, a specification and what a platform adds."""

import yaml
from google.protobuf import json_format


def wrong_with(file: bytes) -> str:
    """Why a file is no pipeline; empty if it is one."""
    from kfp.pipeline_spec import pipeline_spec_pb2

    try:
        documents = list(yaml.safe_load_all(file))
    except yaml.YAMLError as error:
        return f"unknown template format: {error}"
    if not 1 <= len(documents) <= 2 or not all(isinstance(one, dict) for one in documents):
        return "unknown template format: not one or two YAML documents"
    messages = (pipeline_spec_pb2.PipelineSpec(), pipeline_spec_pb2.PlatformSpec())
    for document, message in zip(documents, messages, strict=False):
        try:
            json_format.ParseDict(document, message)
        except json_format.ParseError as error:
            return f"invalid v2 pipeline spec: {error}"
    spec = messages[0]
    if not spec.schema_version or not spec.pipeline_info.name or not spec.root.dag.tasks:
        return "invalid v2 pipeline spec: schemaVersion, pipelineInfo and root.dag are required"
    return ""
