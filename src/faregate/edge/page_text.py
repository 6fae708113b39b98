"""The words of a model's reference page that are the same for every model, in two languages.

The rule: no figure and no name of a model stands here; both come from the catalog, through the placeholders. The two
templates have the same sections in the same order.
"""

from collections.abc import Mapping
from typing import Final

LANGUAGES: Final = ("en", "zh")

TEMPLATES: Final[Mapping[str, str]] = {
    "en": """\
<!-- Generated from the catalog by `make docs`. Do not edit. -->
# {id}

English · [中文]({id}.zh.md)

**Capabilities:** {abilities}

**Price:** by the token, in USD per million tokens; `GET /v1/pricing` has the live table.

| version | from | input | output | cache write 5 min | cache write 1 h | cache read |
|---|---|---|---|---|---|---|
{prices}

One USD is 1,000,000 credits. A call is billed at the version in force when it was held.

{summary}

## Request

`POST /v1/messages`

| field | type | required | default | description |
|---|---|---|---|---|
{parameters}

Dropped where sent, and named in `x-dropped-parameters`: {advisory}.

Refused with 422: {unsupported}, and tools that the provider's servers run.

With `anthropic-version: 2026-10-21` or later, `temperature`, `top_p` and `top_k` do not exist: 400.

## Response

| field | type | description |
|---|---|---|
| `id` | string | The message's id, issued by this gateway; its receipt is at `GET /v1/receipts/{{id}}`. |
| `model` | string | The model, as the request named it. |
| `content` | array | Text in `{{"type": "text"}}`, tool calls in `{{"type": "tool_use"}}`. |
| `stop_reason` | string | `end_turn` / `max_tokens` / `tool_use` / `stop_sequence`. |
| `usage.input_tokens` | integer | Prompt tokens billed as plain input. |
| `usage.output_tokens` | integer | Generated tokens billed. |
| `usage.cache_creation_input_tokens` | integer | Prompt tokens written to the cache. |
| `usage.cache_read_input_tokens` | integer | Prompt tokens read from the cache, when a `cache_control` block hits. |

## Examples

### Streaming

```sh
curl -N -D - "$BASE_URL/v1/messages" \\
  -H "x-api-key: $FAREGATE_KEY" -H "anthropic-version: 2023-06-01" -H "content-type: application/json" \\
  -d '{{"model": "{id}", "max_tokens": 256, "stream": true, "messages": [{{"role": "user", "content": "Hello"}}]}}'
```

The answer is the standard Anthropic SSE. Its price is in the headers before the first event (`x-credits-max`,
`x-credits-estimated`, `x-credits-input`), so a long completion can be cut before it is paid for.

### Cache control

```json
{{
  "model": "{id}",
  "max_tokens": 256,
  "system": [{{"type": "text", "text": "…", "cache_control": {{"type": "ephemeral"}}}}],
  "messages": [{{"role": "user", "content": "Hello"}}]
}}
```

A `cache_control` block makes a repeated prompt cheaper: a hit is billed at the "cache read" price above. {caching}

## Errors

| code | when | billed |
|---|---|---|
| 400 | the body does not pass | no |
| 401 | the key is missing, unknown, revoked or expired | no |
| 402 | the wallet is empty, or the key's quota or the caller's own limit is reached | no |
| 403 | outside of the key's scope, or the address is not allowed | no |
| 422 | a parameter that this model does not support | no |
| 429 | a rate limit or a spend window | no |
| 5xx | trouble upstream (retried by itself before it is reported) | no |

## When to use it

{when}

## Limits

| limit | value |
|---|---|
| Context window | {context_window} tokens |
| Max output | {max_output} tokens |
| Image | at most {image_tokens_max} tokens each |
| Tool use | {tools} |
| Vision | {vision} |
| Streaming | {streaming} |
| Prompt caching | {prompt_caching} |
| After a hang-up | {hang_up} |
| Other names | {aliases} |
""",
    "zh": """\
<!-- 由 `make docs` 根据 catalog 生成，请勿手改。 -->
# {id}

[English]({id}.md) · 中文

**能力：** {abilities}

**价格：** 按 token，单位为美元 / 百万 token；实时价格见 `GET /v1/pricing`。

| 版本 | 生效 | 输入 | 输出 | 写缓存 5 分钟 | 写缓存 1 小时 | 读缓存 |
|---|---|---|---|---|---|---|
{prices}

1 美元 = 1,000,000 credits。每次调用按冻结额度时生效的版本计费。

{summary}

## 请求

`POST /v1/messages`

| 字段 | 类型 | 是否必填 | 默认 | 说明 |
|---|---|---|---|---|
{parameters}

传入即丢弃，并在 `x-dropped-parameters` 中列出：{advisory}。

返回 422：{unsupported}，以及由上游服务器执行的工具。

`anthropic-version: 2026-10-21` 及以后没有 `temperature`、`top_p`、`top_k`：返回 400。

## 响应

| 字段 | 类型 | 说明 |
|---|---|---|
| `id` | string | 本网关签发的消息 ID；收据见 `GET /v1/receipts/{{id}}`。 |
| `model` | string | 回显请求的 model。 |
| `content` | array | 文本在 `{{"type": "text"}}`；工具调用在 `{{"type": "tool_use"}}`。 |
| `stop_reason` | string | `end_turn` / `max_tokens` / `tool_use` / `stop_sequence`。 |
| `usage.input_tokens` | integer | 按普通输入计费的 prompt token 数。 |
| `usage.output_tokens` | integer | 计费的生成 token 数。 |
| `usage.cache_creation_input_tokens` | integer | 写入缓存的 prompt token 数。 |
| `usage.cache_read_input_tokens` | integer | `cache_control` 块命中时从缓存读取的 token 数。 |

## 代码示例

### 流式

```sh
curl -N -D - "$BASE_URL/v1/messages" \\
  -H "x-api-key: $FAREGATE_KEY" -H "anthropic-version: 2023-06-01" -H "content-type: application/json" \\
  -d '{{"model": "{id}", "max_tokens": 256, "stream": true, "messages": [{{"role": "user", "content": "你好"}}]}}'
```

响应是标准 Anthropic 格式的 SSE。估算 credits 会在第一个 SSE 事件之前在 HTTP 响应头里给出（`x-credits-max`、
`x-credits-estimated`、`x-credits-input`），所以你能在为长 completion 付费之前把它截掉。

### Cache control

```json
{{
  "model": "{id}",
  "max_tokens": 256,
  "system": [{{"type": "text", "text": "…", "cache_control": {{"type": "ephemeral"}}}}],
  "messages": [{{"role": "user", "content": "你好"}}]
}}
```

`cache_control` 块降低重复 prompt 的成本：命中按上表“读缓存”一栏的折扣价计费。{caching}

## 错误

| Code | 触发 | 是否计费 |
|---|---|---|
| 400 | Body 校验失败 | 否 |
| 401 | key 缺失 / 未知 / 已撤销 / 已过期 | 否 |
| 402 | 钱包用尽，或达到 key 的配额、调用方自己的上限 | 否 |
| 403 | 范围拒绝 / IP 未在白名单 | 否 |
| 422 | 本模型不支持的参数 | 否 |
| 429 | 速率限制或消费窗口 | 否 |
| 5xx | 上游问题（先自动重试，仍失败才返回） | 否 |

## 何时使用

{when}

## 限制

| 限制 | 值 |
|---|---|
| Context window | {context_window} tokens |
| Max output | {max_output} tokens |
| 图像 | 每张至多 {image_tokens_max} tokens |
| 支持 tool use | {tools} |
| 支持 vision | {vision} |
| 支持 streaming | {streaming} |
| 支持 prompt caching | {prompt_caching} |
| 断开后 | {hang_up} |
| 其他名称 | {aliases} |
""",
}

WORDS: Final[Mapping[str, Mapping[str, str]]] = {
    "en": {
        "yes": "yes",
        "no": "no",
        "nothing": "nothing",
        "comma": ", ",
        "range": "{minimum} to {maximum}.",
        "values": "One of {values}.",
        "cap": "At most {maximum} for this model.",
        "context": "{window} context",
        "cancelled": "the upstream is stopped; paid is what was made until then",
        "runs_to_completion": "the upstream runs to its end; paid is what was made until the hang-up",
    },
    "zh": {
        "yes": "是",
        "no": "否",
        "nothing": "无",
        "comma": "、",
        "range": "范围 {minimum}–{maximum}。",
        "values": "可选 {values}。",
        "cap": "本模型最大：{maximum}。",
        "context": "{window} context",
        "cancelled": "停止上游；只付断开前已生成的部分",
        "runs_to_completion": "上游会运行到结束；只付断开前已生成的部分",
    },
}
