export const howToInstall: string
export function findNatsServer(): string | undefined
